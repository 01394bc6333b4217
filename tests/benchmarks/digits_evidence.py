"""Why the evidence finds no good prior for the digits' perceptron; prints and writes JSON.

python -m tests.benchmarks.digits_evidence [--seeds 3]        needs pip install 'ctuq[bench]'

Question: `digits_laplace` shows that one prior variance by the evidence leaves the plain network or makes it worse.
Why? The same splits and networks; the validation images judge, the test images are not looked at. What is tried:

zero       the log-likelihood of the training labels that the linear model loses from its own logits down to w = 0, as
           expanded at the network's logits, which is what the evidence sees, and truly: where the logits are sure,
           the expansion is nearly flat
mode       variance by MacKay's fixed point with the linear model expanded at its own mode under that prior, with the
           true log-likelihood there (arXiv 2206.08900), and the posterior so expanded, about network or mode
decay      a network trained to the maximum of the posterior with that prior, and Laplace about it
exact      the linear model's posterior under that prior without any expansion, by Hamiltonian Monte Carlo, about the
           network, or as it is

"loss": of the training labels, in nats: at the mode, as a quadratic form would have it on the average of the posterior,
and as draws by Laplace and exact draws have it.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dip import NetworkJacobian
from tests.benchmarks.classification_scores import class_scores
from tests.benchmarks.classifiers import initialised, perceptron
from tests.benchmarks.digits_laplace import HIDDEN, Data, digits, trained
from tests.benchmarks.environment import save
from tests.benchmarks.linear_classifier import LinearClassifier

START, MACKAY_STEPS = 0.5, 20
DRAWS, WARM_UP, LEAPFROGS, STEP = 200, 100, 8, 0.15


class Found(NamedTuple):
    """A prior variance, and Laplace's posterior of the linear model with it.

    Args:
        variance: of every weight.
        weights: the mode, (P,).
        factor: L, with L Lᵀ the second derivative of loss and prior there, (P, P).
        effective: number of weights that the labels decide on.
    """

    variance: float
    weights: Tensor
    factor: Tensor
    effective: float


def laplace(model: LinearClassifier, variance: float, start: Tensor) -> Found:
    """The posterior with that variance, about its mode."""
    weights = model.mode(torch.full_like(start, math.sqrt(variance)), start).weights
    factor = second_derivative(model, weights, variance)
    effective = len(start) - float(torch.cholesky_inverse(factor).diagonal().sum()) / variance
    return Found(variance, weights, factor, effective)


def second_derivative(model: LinearClassifier, weights: Tensor, variance: float) -> Tensor:
    """Its Cholesky factor, (P, P)."""
    rows = model.expanded(weights).rows
    matrix = rows.mT @ rows
    matrix.diagonal().add_(1 / variance)
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor


def by_evidence(model: LinearClassifier) -> Found:
    """The variance at MacKay's fixed point."""
    found = laplace(model, START, model.network_weights)
    for _ in range(MACKAY_STEPS):
        variance = float(found.weights.square().sum()) / found.effective
        if abs(math.log(variance / found.variance)) < 1e-2:
            break
        found = laplace(model, variance, found.weights)
    return found


def expanded_loss(model: LinearClassifier, weights: Tensor) -> float:
    """Of the labels, to second order around the network's own logits."""
    around = model.expanded(model.network_weights)
    missed = around.data - around.rows @ weights
    there = around.data - around.rows @ model.network_weights
    return float(model.loss(model.network_weights)) + 0.5 * float(missed.square().sum() - there.square().sum())


def laplace_steps(factor: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draws from N(0, (L Lᵀ)⁻¹), (draws, P)."""
    white = torch.randn(len(factor), DRAWS, generator=generator, dtype=factor.dtype)
    steps: Tensor = torch.linalg.solve_triangular(factor.mT, white, upper=True)
    return steps.mT


def exact_draws(model: LinearClassifier, found: Found, *, generator: torch.Generator) -> tuple[Tensor, float]:
    """From the linear model's posterior by Hamiltonian Monte Carlo, (draws, P), and the share of steps accepted.

    In the coordinates in which Laplace's posterior is white.
    """

    def weights(white: Tensor) -> Tensor:
        moved: Tensor = torch.linalg.solve_triangular(found.factor.mT, white[:, None], upper=True)
        return found.weights + moved[:, 0]

    def energy(point: Tensor) -> float:
        return float(model.loss(point)) + 0.5 * float(point.square().sum()) / found.variance

    def slope(point: Tensor) -> Tensor:
        total = model.slope(point) + point / found.variance
        moved: Tensor = torch.linalg.solve_triangular(found.factor, total[:, None], upper=False)
        return moved[:, 0]

    white, draws, accepted = torch.zeros_like(found.weights), [], 0
    for i in range(WARM_UP + DRAWS):
        momentum = torch.randn(len(white), generator=generator, dtype=white.dtype)
        before = energy(weights(white)) + 0.5 * float(momentum.square().sum())
        proposed = white
        momentum = momentum - STEP / 2 * slope(weights(proposed))
        for leap in range(LEAPFROGS):
            proposed = proposed + STEP * momentum
            momentum = momentum - (STEP if leap < LEAPFROGS - 1 else STEP / 2) * slope(weights(proposed))
        after = energy(weights(proposed)) + 0.5 * float(momentum.square().sum())
        if float(torch.rand((), generator=generator)) < math.exp(min(0.0, before - after)):
            white = proposed
            accepted += i >= WARM_UP
        if i >= WARM_UP:
            draws.append(weights(white))
    return torch.stack(draws), accepted / DRAWS


def decayed(data: Data, variance: float, *, generator: torch.Generator) -> nn.Module:
    """The same network at the maximum of its posterior with a prior N(0, variance)."""
    network = initialised(perceptron(64, hidden=HIDDEN, depth=1).double(), generator=generator)
    parameters = list(network.parameters())
    optimiser = torch.optim.LBFGS(parameters, max_iter=600, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = torch.stack([weight.square().sum() for weight in parameters]).sum() / (2 * variance)
        loss: Tensor = nn.functional.cross_entropy(network(data[0]), data[1], reduction="sum") + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return network


def scored(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Of the mean class probabilities over draws, (draws, input, class)."""
    return class_scores(torch.softmax(logits, dim=-1).mean(0), labels)._asdict()


def run(seed: int) -> dict[str, object]:
    """All figures of one split."""
    generator = torch.Generator().manual_seed(seed)
    parts = digits(generator=generator)
    network = trained(parts, generator=generator)
    labels, weights = parts[1][1], NetworkJacobian(network, parts[0][0][:1]).weights()
    model, judges = (LinearClassifier.of(network, *part) for part in parts[:2])
    nothing, loss = torch.zeros_like(weights), float(model.loss(weights))
    found = by_evidence(model)
    steps = laplace_steps(found.factor, generator=generator)
    draws, accepted = exact_draws(model, found, generator=generator)

    def predictions(points: Tensor) -> Tensor:
        return torch.stack([judges.logits(point) for point in points])

    other = decayed(parts[0], found.variance, generator=generator)
    at_other = NetworkJacobian(other, parts[0][0][:1]).weights()
    other_judges = LinearClassifier.of(other, *parts[1])
    other_factor = second_derivative(LinearClassifier.of(other, *parts[0]), at_other, found.variance)
    around = at_other + laplace_steps(other_factor, generator=generator)
    return {
        "zero": {
            "expanded": expanded_loss(model, nothing) - loss,
            "true": float(model.loss(nothing)) - loss,
        },
        "variance": found.variance,
        "effective_weights": found.effective,
        "accepted": accepted,
        "loss": {
            "mode": float(model.loss(found.weights)),
            "quadratic": float(model.loss(found.weights)) + found.effective / 2,
            "laplace": sum(float(model.loss(found.weights + step)) for step in steps) / DRAWS,
            "exact": sum(float(model.loss(draw)) for draw in draws) / DRAWS,
        },
        "validation": {
            "plain": scored(judges.logits(weights)[None], labels),
            "mode": scored(judges.logits(found.weights)[None], labels),
            "laplace about network": scored(predictions(weights + steps), labels),
            "laplace about mode": scored(predictions(found.weights + steps), labels),
            "exact": scored(predictions(draws), labels),
            "exact about network": scored(predictions(weights + draws - draws.mean(0)), labels),
            "decay": scored(other_judges.logits(at_other)[None], labels),
            "decay, laplace": scored(torch.stack([other_judges.logits(point) for point in around]), labels),
        },
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="splits")
    parser.add_argument("--name", default="digits_evidence", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    seeds = []
    for seed in range(options.seeds):
        seeds.append(run(seed))
        print(seeds[-1], flush=True)
        if options.name != "none":
            print("written to", save(options.name, {"seeds": seeds}))


if __name__ == "__main__":
    main()
