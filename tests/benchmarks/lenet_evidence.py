"""Evidence of a LeNet with and without normalisation, by expectation maximisation and exactly; table and JSON.

python -m tests.benchmarks.lenet_evidence [--laplace-images 300] [--seeds 3]        needs pip install 'ctuq[bench]'

Questions: which prior does a network with normalisation layers need (arXiv 2206.08900), does EM find what the exact
evidence says, and is the linearised posterior better calibrated than the plain network (MAP), KFAC and the last layer
alone (laplace-torch)? KMNIST letters: 6,000 train, of them the last 500 choose the step only; 1,000 judge.

Of both networks, trained for the same steps: the four priors by EM, with the Jacobian's rows of some training images
kept and the likelihood expanded at the mode of the linear model, three times in turn; cost in products with the rows or
their transpose, and processor seconds. Then the same network with the weights of
its first convolution divided by ten: with normalisation layers it is the same function, so that a prior that
knows what it does must predict the same; "shift" is the mean change of the predicted probabilities. The isotropic
prior of a normalised network, which `dip` refuses, is made by hand. EM against the exact evidence: on fewer images.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dip import (
    CholeskyUpdate,
    Estimate,
    ExpectationMaximisationSettings,
    NetworkJacobian,
    PriorKind,
    SampledPosterior,
    Solve,
    WeightGroup,
    WeightRoot,
    WhitenedRays,
    conjugate_gradient_solve,
    expectation_maximisation,
    sensitivity_of,
    weight_groups,
)
from dip.layers import weighted
from operators import MatrixMap
from tests.benchmarks.classification_scores import class_scores
from tests.benchmarks.classifiers import LeNet, initialised, train
from tests.benchmarks.counted import Counted
from tests.benchmarks.environment import SHARED_DATA, save
from tests.benchmarks.linear_classifier import LinearClassifier
from tests.benchmarks.softmax_likelihood import UNIT, ClassifierModel, predicted

KINDS: tuple[PriorKind, ...] = ("isotropic", "layer", "block", "g-prior")
VALIDATION, TEST = 500, 1000
STEPS, BATCH, LEARNING_RATE = 1500, 100, 3e-3
DRAWS = 64
SHRINK = 10.0
ROUNDS = 3

Data = tuple[Tensor, Tensor]
EM = ExpectationMaximisationSettings(n_draws=8, max_iterations=20, tolerance=0.1)


def kmnist() -> tuple[Data, Data, Data]:
    """Train, validation and test: images (n, 1, 28, 28) float32 from 0 to 1, and labels."""
    found = np.load(SHARED_DATA / "kmnist" / "kmnist_labelled.npz")
    images = torch.as_tensor(found["images"])[:, None].float() / 255
    labels = torch.as_tensor(found["labels"]).long()
    sizes = [len(labels) - TEST - VALIDATION, VALIDATION, TEST]
    first, second, third = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
    return first, second, third


def groups_of(jacobian: NetworkJacobian, kind: PriorKind, rows: Tensor) -> dict[str, WeightGroup]:
    """Those of `dip`, and an isotropic prior even where it refuses one."""
    if kind == "isotropic":
        (n,) = jacobian.in_shape
        return {"all": WeightGroup(torch.arange(n), torch.ones(n))}
    return weight_groups(jacobian, kind, sensitivity=sensitivity_of(rows, torch.ones(len(rows))))


def by_em(
    model: ClassifierModel,
    groups: Mapping[str, WeightGroup],
    start: Mapping[str, float],
    *,
    generator: torch.Generator,
) -> tuple[Estimate, dict[str, float]]:
    """Variances by EM, and what they cost."""
    counted = Counted(MatrixMap(model.rows))
    rays = model.latent_rays(groups, product=counted)
    solve: Solve = conjugate_gradient_solve(rays, iterations=100, tolerance=0.03)
    started = time.process_time()
    found = expectation_maximisation(
        rays,
        model.data,
        {**start, "noise": 1.0},
        solve=solve,
        generator=generator,
        settings=EM,
        floors={},
    )
    return found, {"seconds": time.process_time() - started, "passes": counted.vectors}


def starts(model: ClassifierModel, groups: Mapping[str, WeightGroup]) -> dict[str, float]:
    """Variances with which each group by itself gives the rays a variance of 1 in the mean."""
    found = {}
    for name, group in groups.items():
        moved = model.rows[:, group.index] * group.relative_std.to(model.rows)
        found[name] = 1 / max(float(moved.square().sum(1).mean()), 1e-12)
    return found


def draws(
    model: ClassifierModel, groups: Mapping[str, WeightGroup], variances: Mapping[str, float], *, seed: int
) -> Tensor:
    """Draws of w − w* from the posterior, (draws, P), by Matheron's rule."""
    rows = model.rows.double()
    root = WeightRoot(groups, variances, rows)
    rays = WhitenedRays(MatrixMap(rows), root, UNIT, torch.float64)
    factor = torch.linalg.cholesky(model.covariance(groups).matrix(variances))
    update = CholeskyUpdate(rays, factor, tolerance=1e-6)
    posterior = SampledPosterior(update, mean=torch.zeros(root.out_shape, dtype=torch.float64))
    return posterior.sample(DRAWS, generator=torch.Generator().manual_seed(seed)).images


def trained(training: Data, validation: Data, *, norm: bool, generator: torch.Generator) -> nn.Module:
    """The network that did best on the validation images, with or without normalisation."""
    return train(
        lambda: initialised(LeNet(norm=norm), generator=generator),
        training,
        validation,
        steps=STEPS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        generator=generator,
    )


def shrunk(network: nn.Module) -> nn.Module:
    """The same with the weights of the first convolution divided; with normalisation behind, the same function."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        next(iter(weighted(other).values())).weight.div_(SHRINK)
    return other


class Evidence(NamedTuple):
    """What `learned` found.

    Args:
        model: expanded at the mode of its own posterior, all but the last change of the variances.
        estimate: the variances.
        cost: "seconds" of the processor, and "passes".
    """

    model: ClassifierModel
    estimate: Estimate
    cost: dict[str, float]


def learned(linear: LinearClassifier, groups: Mapping[str, WeightGroup], *, seed: int) -> Evidence:
    """Variances by EM, time and again with the likelihood expanded at the mode of the posterior that they make.

    At the network's own logits one letter that the network is sure of and wrong about would say more than all others:
    a label of probability p counts as a measurement (1 − p)/p deviations squared off.
    """
    started, passes = time.process_time(), 0.0
    weights = linear.network_weights
    variances = starts(linear.expanded(weights), groups)
    for _ in range(ROUNDS):
        root = WeightRoot(groups, variances, weights)
        weights, taken = linear.mode(root(torch.ones_like(weights)), weights)
        model = linear.expanded(weights)
        estimate, cost = by_em(model, groups, variances, generator=torch.Generator().manual_seed(seed))
        variances = {name: estimate.variances[name] for name in groups}
        passes += taken + cost["passes"]
    return Evidence(model, estimate, {"seconds": time.process_time() - started, "passes": passes})


def judged(
    network: nn.Module, linear: LinearClassifier, test: Data, kind: PriorKind, seed: int
) -> tuple[dict[str, object], Tensor]:
    """One prior of one network: its variances by EM, what they cost, and how the test images are predicted."""
    rows = linear.expanded(linear.network_weights).rows
    groups = groups_of(NetworkJacobian(network, test[0][:1]), kind, rows)
    model, found, cost = learned(linear, groups, seed=seed)
    probability = predicted(network, test[0], draws(model, groups, found.variances, seed=seed))
    scores = class_scores(probability, test[1])._asdict()
    return {
        **scores,
        **cost,
        "variances": found.variances,
        "em_iterations": found.iterations,
        "em_converged": found.converged,
    }, probability


def against_exact(network: nn.Module, data: Data, kind: PriorKind, seed: int) -> dict[str, object]:
    """The exact evidence at EM's variances, and at the best ones that an uphill search finds, of the last expansion."""
    linear = LinearClassifier.of(network, *data)
    groups = groups_of(NetworkJacobian(network, data[0][:1]), kind, linear.expanded(linear.network_weights).rows)
    model = learned(linear, groups, seed=seed).model
    found, cost = by_em(model, groups, starts(model, groups), generator=torch.Generator().manual_seed(seed))
    started = time.process_time()
    searched = model.learn(groups, starts(model, groups))
    seconds = time.process_time() - started
    # There may be two maxima.
    best = max(searched, model.learn(groups, found.variances), key=lambda learned: learned.objective)
    return {
        "em": model.evidence(groups, found.variances),
        "exact": best.objective,
        "em_seconds": cost["seconds"],
        "exact_seconds": seconds,
        "em_variances": found.variances,
        "exact_variances": best.variances,
    }


def others(network: nn.Module, test: Data, data: Data) -> dict[str, dict[str, float]]:
    """KFAC and the last layer alone, with the prior precision of laplace-torch's own evidence; same predictions."""
    from laplace import Laplace  # noqa: PLC0415 (an extra)
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415

    found = {}
    for name, weights, structure in (("kfac", "all", "kron"), ("last layer", "last_layer", "full")):
        started = time.process_time()
        other = Laplace(
            copy.deepcopy(network), "classification", subset_of_weights=weights, hessian_structure=structure
        )
        other.fit(DataLoader(TensorDataset(*data), batch_size=100))
        other.optimize_prior_precision(pred_type="glm", method="marglik", n_steps=100, link_approx="mc")
        with torch.no_grad():
            parts = [other(x, pred_type="glm", link_approx="mc", n_samples=DRAWS) for x in torch.split(test[0], 100)]
        scores = class_scores(torch.cat(parts).detach(), test[1])._asdict()
        found[name] = {**scores, "seconds": time.process_time() - started}
    return found


def run(seed: int, *, n_laplace: int, n_exact: int, n_test: int) -> dict[str, object]:
    """Both networks of one seed."""
    generator = torch.Generator().manual_seed(seed)
    training, validation, test = kmnist()
    test = (test[0][:n_test], test[1][:n_test])
    few = torch.randperm(len(training[1]), generator=generator)[:n_laplace]
    data = (training[0][few], training[1][few])
    figures: dict[str, object] = {}
    for name, norm in (("without", False), ("with", True)):
        network = trained(training, validation, norm=norm, generator=generator)
        with torch.no_grad():
            plain = torch.softmax(network(test[0]), dim=-1)
        rows: dict[str, object] = {"map": class_scores(plain, test[1])._asdict(), **others(network, test, data)}
        linear, other = LinearClassifier.of(network, *data), shrunk(network)
        rescaled = LinearClassifier.of(other, *data) if norm else None
        for kind in KINDS:
            found, probability = judged(network, linear, test, kind, seed)
            if rescaled is not None:
                again, moved = judged(other, rescaled, test, kind, seed)
                found |= {"shrunk_nll": again["nll"], "shift": float((moved - probability).abs().mean())}
            found["evidence"] = against_exact(network, (data[0][:n_exact], data[1][:n_exact]), kind, seed)
            rows[kind] = found
            print(seed, name, kind, found, flush=True)
        figures[name] = rows
    return figures


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind")
    parser.add_argument("--laplace-images", type=int, default=300, help="training images of the posterior")
    parser.add_argument("--exact-images", type=int, default=150, help="of the comparison with the exact evidence")
    parser.add_argument("--test-images", type=int, default=TEST, help="that judge")
    parser.add_argument("--name", default="lenet_evidence", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    seeds = []
    for seed in range(options.seeds):
        seeds.append(
            run(seed, n_laplace=options.laplace_images, n_exact=options.exact_images, n_test=options.test_images)
        )
        if options.name != "none":
            settings = {name: getattr(options, name) for name in ("laplace_images", "exact_images", "test_images")}
            print("written to", save(options.name, {"settings": settings, "seeds": seeds}))


if __name__ == "__main__":
    main()
