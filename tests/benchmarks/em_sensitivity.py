"""What expectation maximisation depends on: its start, its solver's learning rate, its samples; prints and writes JSON.

python -m tests.benchmarks.em_sensitivity [--images 100] [--seeds 3]

Question: which defaults of `dip.ExpectationMaximisationSettings`, and what start, do the curves justify? A LeNet
without normalisation on KMNIST letters, linearised on so few training images that the exact evidence of the variances
found can be computed, and its maximum, with the likelihood expanded once and for all where `lenet_evidence` ends: "gap"
is what is missing, in nats. As defaults are to be chosen, the validation letters judge, by log-likelihood and
calibration error. One prior variance a layer. One setting varies at a time; the others are the package's defaults:

start          all variances a thousandth to a thousand times those that give each ray a variance of 1
learning rate  the equations by gradient descent, 50 steps with 0.01 to 1 over the largest eigenvalue, in place of
               conjugate gradients; each column from the best multiple of where the last left off; 20 iterations at most
as it was left the same from just there, although the variances are others now
draws          2 to 64
tolerance      1 to 0.001 nats

Where the variances ran off, so that the evidence is no longer a number in double precision, figures are null.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace

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
from operators import GramMap, Solution, largest_eigenvalue
from tests.benchmarks.classification_scores import class_scores
from tests.benchmarks.environment import save
from tests.benchmarks.lenet_evidence import draws, groups_of, kmnist, learned, starts, trained
from tests.benchmarks.linear_classifier import LinearClassifier
from tests.benchmarks.softmax_likelihood import predicted

STARTS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3)
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
DRAWS = (2, 4, 8, 16, 32, 64)
TOLERANCES = (1.0, 0.1, 0.01, 0.001)
AS_LEFT = (0.01, 0.1, 1.0)
GRADIENT_STEPS, GRADIENT_ITERATIONS = 50, 20
DEFAULTS = ExpectationMaximisationSettings()


def gradient_solve(
    rays: LatentRays, *, learning_rate: float, generator: torch.Generator, rescale: bool = True
) -> Solve:
    """Solves with K by so many steps of gradient descent, of `learning_rate` over the largest eigenvalue.

    Args:
        rays: K.
        learning_rate: of a step.
        generator: of the power iteration.
        rescale: each column of the start, to what is nearest to the solution in the norm of K.
    """

    def solve(variances: Mapping[str, float], columns: Tensor, start: Tensor) -> Solution:
        product = GramMap(rays.factor(variances), shift=rays.diagonal(variances))
        step = learning_rate / largest_eigenvalue(product, generator=generator, tolerance=1e-2)
        point = start
        if rescale:
            energy = (start * product(start)).sum(1, keepdim=True)
            point = start * torch.where(energy > 0, (start * columns).sum(1, keepdim=True) / energy, 0.0)
        for _ in range(GRADIENT_STEPS):
            point = point + step * (columns - product(point))
        left = torch.linalg.vector_norm(columns - product(point), dim=1)
        return Solution(point, left / torch.linalg.vector_norm(columns, dim=1), GRADIENT_STEPS, math.inf)

    return solve


def sensitivity(n_images: int, n_judges: int, seed: int) -> dict[str, object]:
    """All curves of one network."""
    generator = torch.Generator().manual_seed(seed)
    training, validation, _ = kmnist()
    network = trained(training, validation, norm=False, generator=generator)
    data, judges = (
        (training[0][:n_images], training[1][:n_images]),
        (validation[0][:n_judges], validation[1][:n_judges]),
    )
    linear, jacobian = LinearClassifier.of(network, *data), NetworkJacobian(network, data[0][:1])
    groups = groups_of(jacobian, "layer", linear.expanded(linear.network_weights).rows)
    model = learned(linear, groups, seed=seed).model
    rays, unit = model.latent_rays(groups), starts(model, groups)
    by_cg = conjugate_gradient_solve(rays, iterations=100, tolerance=0.03)
    # From EM's answer too: a search may end before the maximum, or at another.
    by_em = expectation_maximisation(
        rays,
        model.data,
        {**unit, "noise": 1.0},
        solve=by_cg,
        generator=torch.Generator().manual_seed(seed),
        settings=replace(DEFAULTS, n_draws=DRAWS[-1]),
        floors={},
    )
    tried = [model.learn(groups, start, max_evaluations=200) for start in (unit, by_em.variances)]
    best = max(tried, key=lambda searched: searched.objective)

    def judged(variances: Mapping[str, float]) -> dict[str, float | None]:
        try:
            gap = best.objective - model.evidence(groups, variances)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return dict.fromkeys(("gap", "nll", "ece"))
        probability = predicted(network, judges[0], draws(model, groups, variances, seed=seed))
        scores = class_scores(probability, judges[1])
        return {"gap": gap, "nll": scores.nll, "ece": scores.ece}

    def point(
        *, start: float = 1.0, solve: Solve = by_cg, settings: ExpectationMaximisationSettings = DEFAULTS
    ) -> dict[str, object]:
        found = expectation_maximisation(
            rays,
            model.data,
            {name: start * value for name, value in unit.items()} | {"noise": 1.0},
            solve=solve,
            generator=torch.Generator().manual_seed(seed + 1),
            settings=settings,
            floors={},
        )
        return {
            **judged(found.variances),
            "iterations": found.iterations,
            "converged": found.converged,
            "variances": found.variances,
        }

    def rate(value: float, *, rescale: bool = True) -> dict[str, object]:
        solve = gradient_solve(rays, learning_rate=value, generator=generator, rescale=rescale)
        return point(solve=solve, settings=replace(DEFAULTS, max_iterations=GRADIENT_ITERATIONS))

    curves = {
        "start": {f"{value:g}": point(start=value) for value in STARTS},
        "learning_rate": {f"{value:g}": rate(value) for value in LEARNING_RATES},
        "as_it_was_left": {f"{value:g}": rate(value, rescale=False) for value in AS_LEFT},
        "draws": {f"{value}": point(settings=replace(DEFAULTS, n_draws=value)) for value in DRAWS},
        "tolerance": {f"{value:g}": point(settings=replace(DEFAULTS, tolerance=value)) for value in TOLERANCES},
    }
    with torch.no_grad():
        plain = class_scores(torch.softmax(network(judges[0]).double(), dim=-1), judges[1])
    return {
        "plain": {"nll": plain.nll, "ece": plain.ece},
        "exact": {**judged(best.variances), "evidence": best.objective, "variances": best.variances},
        **curves,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="training images of the linearised network")
    parser.add_argument("--judges", type=int, default=500, help="validation images")
    parser.add_argument("--seeds", type=int, default=3, help="networks")
    parser.add_argument("--name", default="em_sensitivity", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    seeds = []
    for seed in range(options.seeds):
        seeds.append(sensitivity(options.images, options.judges, seed))
        print(seeds[-1], flush=True)
        if options.name != "none":
            print(
                "written to",
                save(options.name, {"settings": {"images": options.images, "judges": options.judges}, "seeds": seeds}),
            )


if __name__ == "__main__":
    main()
