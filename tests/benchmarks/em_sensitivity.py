"""What expectation maximisation depends on: its start, its solver's learning rate, its samples; prints and writes JSON.

python -m tests.benchmarks.em_sensitivity [--images 150] [--seeds 3]

Question: which defaults of `dip.ExpectationMaximisationSettings`, and what start, do the curves justify? A LeNet
without normalisation on KMNIST letters, linearised on so few training images that the exact evidence of the variances
found can be computed, and its maximum: "gap" is what is missing, in nats. Test letters judge, by
log-likelihood and calibration error. One prior variance a layer. One setting varies at a time:

start          all variances a thousandth to a thousand times those that give each ray a variance of 1
learning rate  the equations by gradient descent, 50 steps from where the last left off, with 0.01 to 1 over the largest
               eigenvalue, in place of conjugate gradients
draws          2 to 64
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import torch
from torch import Tensor

from dip import (
    ExpectationMaximisationSettings,
    LatentRays,
    NetworkJacobian,
    Solve,
    conjugate_gradient_solve,
    expectation_maximisation,
)
from operators import GramMap, largest_eigenvalue
from tests.benchmarks.classification_scores import class_scores
from tests.benchmarks.environment import save
from tests.benchmarks.lenet_evidence import Data, draws, groups_of, kmnist, starts, trained
from tests.benchmarks.softmax_likelihood import ClassifierModel, predicted

STARTS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3)
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
DRAWS = (2, 4, 8, 16, 32, 64)
GRADIENT_STEPS = 50


def gradient_solve(rays: LatentRays, *, learning_rate: float, generator: torch.Generator) -> Solve:
    """Solves with K by so many steps of gradient descent, of `learning_rate` over the largest eigenvalue."""

    def solve(variances: Mapping[str, float], columns: Tensor, start: Tensor) -> Tensor:
        product = GramMap(rays.factor(variances), shift=rays.diagonal(variances))
        step = learning_rate / largest_eigenvalue(product, generator=generator, tolerance=1e-2)
        point = start
        for _ in range(GRADIENT_STEPS):
            point = point + step * (columns - product(point))
        return point

    return solve


def sensitivity(data: Data, test: Data, seed: int) -> dict[str, object]:
    """All curves of one network."""
    generator = torch.Generator().manual_seed(seed)
    training, validation, _ = kmnist()
    network = trained(training, validation, norm=False, generator=generator)
    model, jacobian = ClassifierModel.of(network, *data), NetworkJacobian(network, data[0][:1])
    groups = groups_of(jacobian, "layer", model.rows)
    rays, unit = model.latent_rays(groups), starts(model, groups)
    by_cg = conjugate_gradient_solve(rays, iterations=100, tolerance=0.03)
    best = model.learn(groups, unit, max_evaluations=200)

    def judged(variances: Mapping[str, float]) -> dict[str, float]:
        probability = predicted(network, test[0], draws(model, groups, variances, seed=seed))
        scores = class_scores(probability, test[1])
        return {"gap": best.objective - model.evidence(groups, variances), "nll": scores.nll, "ece": scores.ece}

    def point(*, start: float = 1.0, solve: Solve = by_cg, n: int = 16) -> dict[str, object]:
        settings = ExpectationMaximisationSettings(n_draws=n, max_iterations=30, tolerance=0.1)
        found = expectation_maximisation(
            rays,
            model.data,
            {name: start * value for name, value in unit.items()} | {"noise": 1.0},
            solve=solve,
            generator=torch.Generator().manual_seed(seed + 1),
            settings=settings,
            floors={},
        )
        return {**judged(found.variances), "iterations": found.iterations, "converged": found.converged}

    def rate(value: float) -> Solve:
        return gradient_solve(rays, learning_rate=value, generator=generator)

    curves = {
        "start": {f"{value:g}": point(start=value) for value in STARTS},
        "learning_rate": {f"{value:g}": point(solve=rate(value)) for value in LEARNING_RATES},
        "draws": {f"{value}": point(n=value) for value in DRAWS},
    }
    return {"exact": {**judged(best.variances), "evidence": best.objective}, **curves}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="training images of the linearised network")
    parser.add_argument("--judges", type=int, default=500, help="test images")
    parser.add_argument("--seeds", type=int, default=3, help="networks")
    parser.add_argument("--name", default="em_sensitivity", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    training, _, test = kmnist()
    seeds = []
    for seed in range(options.seeds):
        data = (training[0][: options.images], training[1][: options.images])
        seeds.append(sensitivity(data, (test[0][: options.judges], test[1][: options.judges]), seed))
        print(seeds[-1], flush=True)
        if options.name != "none":
            print(
                "written to",
                save(options.name, {"settings": {"images": options.images, "judges": options.judges}, "seeds": seeds}),
            )


if __name__ == "__main__":
    main()
