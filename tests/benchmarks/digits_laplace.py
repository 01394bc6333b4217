"""Linearised Laplace of a small perceptron on scikit-learn's digits, against other ways; prints a table, writes JSON.

python -m tests.benchmarks.digits_laplace [--seeds 5]        needs pip install 'ctuq[bench]'

Question: are the Jacobian, prior, evidence and posterior of `dip` the linearised Laplace method itself, and is it worth
what it is said to be? A perceptron of one hidden layer without biases; of 1,797 digits of 8 x 8 pixels a random 800
train, 297 choose the step, the weight of dropout and nothing else, 700 judge. "laplace": the exact linearised posterior
with one prior variance, or one a layer, by the exact evidence, or one by the validation images; class probabilities are
means over 200 draws. "plain",
"dropout" (200 passes) and "ensemble" (five networks) are the same network trained otherwise.

Outsiders are told by the entropy of the predicted classes: the test digits turned by 90 degrees, and as many letters of
KMNIST brought to 8 x 8 pixels. The figure of `laplace-torch` is the largest difference of any entry of its full GGN
posterior covariance from ours, relative to the largest entry, for the first seed's network.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dip import DensePosterior, NetworkJacobian, PriorKind, weight_groups
from tests.benchmarks.classification_scores import auroc, class_scores, entropy
from tests.benchmarks.classifiers import initialised, perceptron, train
from tests.benchmarks.environment import SHARED_DATA, save
from tests.benchmarks.softmax_likelihood import ClassifierModel, predicted

HIDDEN, TRAIN, VALIDATION = 25, 800, 297
STEPS, BATCH, LEARNING_RATE = 1500, 100, 1e-2
MEMBERS, DRAWS = 5, 200
DROPOUTS = (0.05, 0.1, 0.2, 0.4)
VARIANCES = (1e-3, 1e-2, 3e-2, 0.1)
KINDS: tuple[PriorKind, ...] = ("isotropic", "layer")

Data = tuple[Tensor, Tensor]


def digits(*, generator: torch.Generator) -> tuple[Data, Data, Data]:
    """Train, validation and test: images (n, 1, 8, 8) float64 from 0 to 1, and labels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (an extra)

    found = load_digits()
    images, labels = torch.as_tensor(found.images)[:, None] / 16, torch.as_tensor(found.target)
    order = torch.randperm(len(labels), generator=generator)
    parts = torch.split(order, [TRAIN, VALIDATION, len(order) - TRAIN - VALIDATION])
    first, second, third = ((images[part], labels[part]) for part in parts)
    return first, second, third


def letters(n: int) -> Tensor:
    """Images of KMNIST, (n, 1, 8, 8) float64 from 0 to 1."""
    images = torch.as_tensor(np.load(SHARED_DATA / "kmnist" / "kmnist_labelled.npz")["images"][:n]).double() / 255
    return nn.functional.adaptive_avg_pool2d(images[:, None], 8)


def trained(parts: tuple[Data, Data, Data], *, generator: torch.Generator, dropout: float = 0.0) -> nn.Module:
    """One network."""

    def make() -> nn.Module:
        return initialised(perceptron(64, hidden=HIDDEN, depth=1).double(), generator=generator)

    return train(
        make,
        parts[0],
        parts[1],
        steps=STEPS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        generator=generator,
        dropout=dropout,
    )


def softmax(network: nn.Module, inputs: Tensor, *, passes: int = 1) -> Tensor:
    """Mean class probabilities of some passes, (input, class)."""
    with torch.no_grad():
        return torch.stack([torch.softmax(network(inputs), dim=-1) for _ in range(passes)]).mean(0)


def dropout_network(parts: tuple[Data, Data, Data], *, generator: torch.Generator) -> tuple[nn.Module, float]:
    """The one that validation images like best, and its probability."""

    def loss(network: nn.Module) -> float:
        return class_scores(softmax(network, parts[1][0], passes=50), parts[1][1]).nll

    networks = {p: trained(parts, generator=generator, dropout=p) for p in DROPOUTS}
    best = min(networks, key=lambda p: loss(networks[p]))
    return networks[best], best


def laplace(
    model: ClassifierModel, jacobian: NetworkJacobian, kind: PriorKind
) -> tuple[DensePosterior, dict[str, float]]:
    """The posterior of the weights with the variances of the highest evidence, and these."""
    groups = weight_groups(jacobian, kind, sensitivity=torch.ones(jacobian.in_shape, dtype=torch.float64))
    variances = model.learn(groups, dict.fromkeys(groups, 1.0)).variances
    return model.posterior(groups, variances, jacobian.weights()), variances


def tuned(
    model: ClassifierModel, jacobian: NetworkJacobian, validation: Data, *, generator: torch.Generator
) -> tuple[DensePosterior, float]:
    """The posterior with the one variance that validation images like best, and that."""
    groups = weight_groups(jacobian, "isotropic", sensitivity=torch.ones(jacobian.in_shape, dtype=torch.float64))

    def posterior(variance: float) -> DensePosterior:
        return model.posterior(groups, {"all": variance, "noise": 1.0}, jacobian.weights())

    def loss(variance: float) -> float:
        inputs = {"validation": validation[0]}
        probability = linearised(jacobian.network, posterior(variance), inputs, generator=generator)
        return class_scores(probability["validation"], validation[1]).nll

    best = min(VARIANCES, key=loss)
    return posterior(best), best


def other_covariance(network: nn.Module, data: Data, variance: float) -> Tensor:
    """The full GGN posterior covariance of laplace-torch, (P, P), with one prior variance."""
    from laplace import Laplace  # noqa: PLC0415 (an extra)
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415

    other = Laplace(
        network, "classification", subset_of_weights="all", hessian_structure="full", prior_precision=1 / variance
    )
    other.fit(DataLoader(TensorDataset(*data), batch_size=100))
    covariance: Tensor = other.posterior_covariance
    return covariance


def largest_difference(ours: Tensor, others: Tensor) -> float:
    """Of any entry, relative to the largest."""
    return float((ours - others).abs().max() / others.abs().max())


def judged(probability: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
    """Scores of probabilities on the "test" images, "turned" ones and "letters"."""
    inside = entropy(probability["test"])
    return {
        **class_scores(probability["test"], labels)._asdict(),
        "auroc_turned": auroc(inside, entropy(probability["turned"])),
        "auroc_letters": auroc(inside, entropy(probability["letters"])),
    }


def linearised(
    network: nn.Module, posterior: DensePosterior, inputs: dict[str, Tensor], *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Mean class probabilities over draws of the weights, by the names of the inputs."""
    steps = posterior.sample(DRAWS, generator=generator).images - posterior.mean
    return {name: predicted(network, x, steps) for name, x in inputs.items()}


def run(seed: int, *, compare: bool) -> dict[str, Any]:
    """All methods on one split."""
    generator = torch.Generator().manual_seed(seed)
    parts = digits(generator=generator)
    test, labels = parts[2]
    inputs = {"test": test, "turned": torch.rot90(test, 1, (-2, -1)), "letters": letters(len(test))}
    members = [trained(parts, generator=generator) for _ in range(MEMBERS)]
    network = members[0]
    dropped, probability = dropout_network(parts, generator=generator)
    rows = {
        "plain": judged({name: softmax(network, x) for name, x in inputs.items()}, labels),
        "dropout": judged({name: softmax(dropped, x, passes=DRAWS) for name, x in inputs.items()}, labels),
        "ensemble": judged(
            {name: torch.stack([softmax(member, x) for member in members]).mean(0) for name, x in inputs.items()},
            labels,
        ),
    }
    figures: dict[str, Any] = {"dropout_probability": probability}
    started = time.process_time()
    model = ClassifierModel.of(network, *parts[0]).compressed()
    jacobian = NetworkJacobian(network, parts[0][0][:1])
    figures["seconds_rows"] = time.process_time() - started
    for kind in KINDS:
        started = time.process_time()
        posterior, variances = laplace(model, jacobian, kind)
        rows[f"laplace {kind}"] = judged(linearised(network, posterior, inputs, generator=generator), labels)
        figures[f"seconds_{kind}"] = time.process_time() - started
        figures[f"variances_{kind}"] = variances
        if compare and kind == "isotropic":
            others = other_covariance(network, parts[0], variances["all"])
            figures["laplace_torch_difference"] = largest_difference(posterior.covariance(), others)
    posterior, figures["variance_tuned"] = tuned(model, jacobian, parts[1], generator=generator)
    rows["laplace tuned"] = judged(linearised(network, posterior, inputs, generator=generator), labels)
    return {"methods": rows, **figures}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="splits, each with networks of its own")
    parser.add_argument("--name", default="digits_laplace", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    seeds: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        seeds.append(run(seed, compare=seed == 0))
        print(seeds[-1], flush=True)
        scores = [found["methods"] for found in seeds]
        mean = {
            method: {key: statistics.fmean(score[method][key] for score in scores) for key in row}
            for method, row in scores[0].items()
        }
        if options.name != "none":
            print("written to", save(options.name, {"seeds": seeds, "mean": mean}))


if __name__ == "__main__":
    main()
