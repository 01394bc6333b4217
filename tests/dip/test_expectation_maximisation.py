from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from dip import (
    Estimate,
    ExpectationMaximisationSettings,
    LatentRays,
    RayCovariance,
    Solve,
    WeightGroup,
    conjugate_gradient_solve,
    expectation_maximisation,
    filter_gram_matrices,
    gram_matrices,
    length_name,
    log_evidence,
    maximise,
)
from dip.filter_covariance import LENGTH_BOUNDS, tap_root
from operators import LinearMap, MatrixMap, Solution
from tests.dip.dense import generator, randn

N = 90
LENGTH = length_name("filters")
TRUTH = {"weights": 2.0, "pixels": 0.2, "filters": 0.4, LENGTH: 2.0, "edges": 0.3, "noise": 0.5}
PARTS = {"weights": torch.arange(30), "pixels": torch.arange(30, 80), "filters": torch.arange(80, 350)}
ROWS = randn(N, 350, seed=3) * torch.logspace(1, -2, N, dtype=torch.float64)[:, None] ** 0.5
GROUPS = {name: WeightGroup(index, torch.ones(len(index)), name == "filters") for name, index in PARTS.items()}
DIAGONALS = {"edges": torch.linspace(0.01, 3.0, N, dtype=torch.float64), "noise": torch.ones(N, dtype=torch.float64)}
COVARIANCE = RayCovariance(gram_matrices(ROWS, GROUPS), DIAGONALS, filter_gram_matrices(ROWS, GROUPS))


def factor(variances: Mapping[str, float]) -> LinearMap:
    matrix = ROWS.clone()
    for name, index in PARTS.items():
        matrix[:, index] *= variances[name] ** 0.5
    taps = matrix[:, PARTS["filters"]].reshape(N, -1, 9) @ tap_root(variances[LENGTH])
    matrix[:, PARTS["filters"]] = taps.flatten(1)
    return MatrixMap(matrix)


RAYS = LatentRays(factor, PARTS, DIAGONALS, ("filters",))


def by_cholesky(variances: Mapping[str, float], columns: Tensor, start: Tensor) -> Solution:
    return Solution.exact(torch.cholesky_solve(columns.mT, torch.linalg.cholesky(COVARIANCE.matrix(variances))).mT)


def data(seed: int) -> Tensor:
    drawn: Tensor = torch.linalg.cholesky(COVARIANCE.matrix(TRUTH)) @ randn(N, seed=seed)
    return drawn


def run(seed: int = 1, *, n_draws: int = 32, solve: Solve = by_cholesky, iterations: int = 200) -> Estimate:
    return expectation_maximisation(
        RAYS,
        data(seed),
        COVARIANCE.start(signal=100.0, noise=1.0),
        solve=solve,
        generator=generator(seed + 100),
        settings=ExpectationMaximisationSettings(n_draws=n_draws, max_iterations=iterations),
        floors={},
    )


def evidence(estimate: Mapping[str, float], seed: int = 1) -> float:
    return float(log_evidence(COVARIANCE, estimate, data(seed))[0])


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_evidence_that_the_optimiser_finds(seed: int) -> None:
    best = maximise(
        lambda v: log_evidence(COVARIANCE, v, data(seed)),
        COVARIANCE.start(signal=100.0, noise=1.0),
        floors={LENGTH: LENGTH_BOUNDS[0]},
        ceilings={LENGTH: LENGTH_BOUNDS[1]},
        max_evaluations=200,
    )
    found = run(seed)
    assert found.converged
    assert found.iterations < 40
    assert best.objective - evidence(found.variances, seed) < min(1.0, 0.01 * abs(best.objective))


def test_a_term_that_explains_less_than_a_ray_at_the_start_comes_back() -> None:
    start = COVARIANCE.start(signal=100.0, noise=1.0) | {"noise": 1e-3, "edges": 1e-3}
    found = expectation_maximisation(
        RAYS,
        data(1),
        start,
        solve=by_cholesky,
        generator=generator(101),
        settings=ExpectationMaximisationSettings(n_draws=32, max_iterations=100),
        floors={},
    )
    assert found.converged
    assert evidence(found.variances) == pytest.approx(evidence(run().variances), abs=0.2)


def test_energies_of_many_draws_are_the_evidences_slope() -> None:
    module, n = importlib.import_module("dip.expectation_maximisation"), 4000
    draws = torch.linalg.cholesky(COVARIANCE.matrix(TRUTH)) @ randn(N, n, seed=7)
    solved = by_cholesky(TRUTH, torch.cat([data(0)[None], draws.mT]), torch.empty(0)).value
    energies = module._energies(RAYS, factor(TRUTH), TRUTH, solved)
    _, slopes = log_evidence(COVARIANCE, TRUTH, data(0))
    for name, slope in zip(COVARIANCE.names, slopes.tolist(), strict=True):
        expected, spread = float(energies[name][1:].mean()), float(energies[name][1:].std()) / math.sqrt(n)
        assert abs(float(energies[name][0]) - expected - 2 * slope) < 5 * spread
    moved, gain = module._step(RAYS, TRUTH, energies, {})
    worth = [s * math.log(moved[n] / TRUTH[n]) for n, s in zip(COVARIANCE.names, slopes.tolist(), strict=True)]
    assert gain == pytest.approx(sum(worth), rel=0.2)
    # The effective dimensions add up to the rays.
    total = sum(energies[name] for name in COVARIANCE.names if name != LENGTH)
    torch.testing.assert_close(total, (solved @ COVARIANCE.matrix(TRUTH) * solved).sum(1))


def test_one_noise_is_the_residual_over_the_degrees_of_freedom() -> None:
    """MacKay's update as it is known: s ← ‖y − M w̄‖²/(rays − γ), s_b² ← ‖w̄‖²/γ."""
    module = importlib.import_module("dip.expectation_maximisation")
    rows, v = randn(20, 6, seed=2), {"weights": 0.7, "noise": 0.4}
    rays = LatentRays(
        lambda v: MatrixMap(rows * v["weights"] ** 0.5),
        {"weights": torch.arange(6)},
        {"noise": torch.ones(20, dtype=torch.float64)},
    )
    k = 0.7 * rows @ rows.mT + 0.4 * torch.eye(20, dtype=torch.float64)
    draws = torch.linalg.cholesky(k) @ randn(20, 100_000, seed=4)
    y, solved = draws[:, 0], torch.linalg.solve(k, draws).mT
    moved, _ = module._step(rays, v, module._energies(rays, rays.factor(v), v, solved), {})
    mean = 0.7 * rows.mT @ solved[0]
    gamma = float(torch.linalg.solve(k, 0.7 * rows @ rows.mT).trace())
    assert moved["weights"] == pytest.approx(float(mean.square().sum()) / gamma, rel=0.01)
    assert moved["noise"] == pytest.approx(float((y - rows @ mean).square().sum()) / (20 - gamma), rel=0.01)


def test_conjugate_gradients_do_as_well_as_a_factor() -> None:
    solve = conjugate_gradient_solve(RAYS, iterations=500, tolerance=1e-10)
    by_products, by_factor = run(solve=solve, iterations=4), run(iterations=4)
    assert by_products.variances == pytest.approx(by_factor.variances, rel=1e-6)


def test_equations_that_are_not_solved_are_told() -> None:
    found = run(solve=conjugate_gradient_solve(RAYS, iterations=1, tolerance=1e-6))
    assert not found.solved
    assert run().solved


def test_same_draws_same_result_and_a_limit_is_told() -> None:
    assert run() == run()
    short = run(iterations=2)
    assert (short.iterations, short.converged) == (2, False)


def test_a_floor_holds() -> None:
    found = expectation_maximisation(
        RAYS,
        data(1),
        COVARIANCE.start(signal=100.0, noise=1.0),
        solve=by_cholesky,
        generator=generator(101),
        settings=ExpectationMaximisationSettings(),
        floors={"noise": 3.0},
    )
    assert found.variances["noise"] == 3.0
    assert found.converged


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_draws": 1}, "n_draws must be at least 2, got 1"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
        ({"tolerance": 0.0}, "tolerance must be positive, got 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExpectationMaximisationSettings(**wrong)


def test_what_is_known_stays() -> None:
    rays = LatentRays(factor, PARTS, DIAGONALS, ("filters",), known=("noise", LENGTH))
    start = COVARIANCE.start(signal=100.0, noise=1.0) | {"noise": TRUTH["noise"], LENGTH: TRUTH[LENGTH]}
    settings = ExpectationMaximisationSettings(n_draws=32, max_iterations=50)
    found = expectation_maximisation(
        rays, data(1), start, solve=by_cholesky, generator=generator(1), settings=settings, floors={}
    )
    assert (found.variances["noise"], found.variances[LENGTH]) == (TRUTH["noise"], TRUTH[LENGTH])
    held = {name: (value, value) for name, value in start.items() if name in rays.known}
    best = maximise(
        lambda variances: log_evidence(COVARIANCE, variances, data(1)),
        start,
        floors={name: low for name, (low, _) in held.items()},
        ceilings={name: high for name, (_, high) in held.items()},
        max_evaluations=200,
    )
    reached, _ = log_evidence(COVARIANCE, found.variances, data(1))
    assert float(reached) == pytest.approx(best.objective, abs=0.5)
