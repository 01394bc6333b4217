"""Verdicts by samples, where more rays are measured than their covariance is held of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ctuq import judging, load_config, reconstruct
from ctuq.config import Config
from ctuq.judging import judged, tempering
from ctuq.preparation import prepare
from ctuq.problem import Problem, fit_networks, pose
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from ctuq.stage_watch import StageWatch
from dip import (
    Fit,
    Learned,
    LinearModel,
    NetworkJacobian,
    Prediction,
    Temperature,
    linearise,
    predict_by_samples,
    temperature_by_samples,
)
from dip.sampled_prediction import Scatter
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.ctuq.cone_scan import ball_scan, quick

QUICK = (
    "network.channels=[4,4]",
    "network.skip_channels=[2]",
    "fit.steps=40",
    "fit.refit_steps=10",
    "fit.tv_weights=[0.001]",
    "grid.size=12",
    "posterior.judging_samples=8",
    "posterior.n_samples=8",
)
BY_SAMPLES = ("posterior.cholesky_rays=100", "evidence.max_rays=120")


def config(*more: str) -> Config:
    return load_config(overrides=[*QUICK, *more])


def scan() -> Scan:
    grid = ImageGrid(shape=(12, 12))
    geometry = ParallelBeam(grid=grid, angles_rad=[math.pi * view / 24 for view in range(24)], n_detectors=14)
    image = torch.zeros(12, 12)
    image[3:8, 4:9] = 0.03
    rays = RayTransform(geometry)(image)
    noise = 0.01 * torch.randn(rays.shape, generator=torch.Generator().manual_seed(3))
    return Scan(rays + noise, geometry, name="block")


@pytest.mark.parametrize("kind", ["isotropic", "block", "filter-gp"])
def test_slices_with_too_many_rays_are_judged_by_samples_and_say_so(kind: str) -> None:
    exact, found = (reconstruct(scan(), config(f"prior.kind={kind}", *more), seed=1) for more in ((), BY_SAMPLES))
    assert found.diagnostics["worst_sample_residual"] < 0.1
    assert found.image.equal(exact.image)
    assert 0.5 < float(found.std.median() / exact.std.median()) < 2
    assert found.calibration.n_rays == exact.calibration.n_rays
    assert found.calibration.chi_square == pytest.approx(float(found.calibration.z.square().mean()))
    assert any("judged one by one, by 8 draws" in note for note in found.provenance.notes)
    assert not any("judged one by one" in note for note in exact.provenance.notes)


def test_draws_that_cannot_be_solved_for_are_told() -> None:
    # A block's variance runs off to ten thousands of the noise, where products in float32 are too rough.
    found = reconstruct(scan(), config("prior.kind=block", *BY_SAMPLES), seed=0)
    assert found.diagnostics["worst_sample_residual"] > 1
    assert any(
        "samples whose equations are solved to posterior.tolerance=0.05" in note for note in found.provenance.notes
    )


def test_variances_by_equations_that_are_not_solved_are_told() -> None:
    em = ("evidence.method=em", "posterior.max_iterations=1", "posterior.preconditioner_rank=0", *BY_SAMPLES)
    found = reconstruct(scan(), config(*em))
    assert any("variances rest on equations that were not solved" in note for note in found.provenance.notes)
    solved = reconstruct(scan(), config("evidence.method=em", *BY_SAMPLES))
    assert not any("variances rest on equations" in note for note in solved.provenance.notes)


@pytest.mark.parametrize("more", [(), BY_SAMPLES])
def test_what_test_rays_say_changes_nothing_but_the_verdict(more: tuple[str, ...]) -> None:
    settings = config(*more)
    given = scan()
    judges = pose(prepare(given, settings), settings, 0, "cpu").holdout.judges
    worse = torch.where(judges, 0.1 * torch.randn(judges.shape, generator=torch.Generator().manual_seed(5)), 0.0)
    changed = replace_sinogram(given, given.sinogram + worse)
    one, other = reconstruct(given, settings), reconstruct(changed, settings)
    assert "variance_noise" in learned(one)
    assert learned(one) == pytest.approx(learned(other), rel=1e-6)
    assert one.calibration.temperature == pytest.approx(other.calibration.temperature, rel=1e-6)
    assert other.calibration.chi_square > 1.2 * one.calibration.chi_square


def test_em_of_too_many_rays_learns_what_it_learns_where_they_are_held() -> None:
    em = ("evidence.method=em", "prior.kind=block")
    held = reconstruct(scan(), config(*em, "evidence.max_rays=1000"))
    found = reconstruct(scan(), config(*em, *BY_SAMPLES))
    assert found.image.equal(held.image)
    factor = found.calibration.temperature / held.calibration.temperature
    for name in ("variance_noise", "variance_representation"):
        assert learned(found)[name] == pytest.approx(factor * learned(held)[name], rel=0.05)
    assert found.diagnostics["worst_sample_residual"] <= 0.05


def replace_sinogram(scan: Scan, sinogram: torch.Tensor) -> Scan:
    return Scan(sinogram, scan.geometry, name=scan.name)


def learned(found: Reconstruction) -> dict[str, float]:
    return {name: value for name, value in found.diagnostics.items() if name.startswith("variance_")}


MANY_DRAWS = ("posterior.judging_samples=200", "posterior.block=200")
SMALL_ERRORS = Learned(
    {"all": 0.01, "pixels": 0.01, "smooth": 1e-4, "representation": 1e-4, "noise": 1e-3}, 0.0, 0, converged=True
)


def fitted(scan: Scan, config: Config, *, part: bool) -> tuple[Problem, Fit, LinearModel]:
    """The model of a scan; `part`: whose covariance is of some rays only."""
    problem = pose(prepare(scan, config), config, 0, "cpu")
    found = fit_networks(problem, config, StageWatch(None))
    model = linearise(
        NetworkJacobian(found.networks[0], problem.inputs[0], batch=8),
        problem.transform,
        found.image,
        kind="isotropic",
        relative_noise=problem.relative_noise,
        smooth_errors=True,
        rays=torch.arange(40) if part else None,
    )
    return problem, found, model


def predicted_by_all(problem: Problem, model: LinearModel) -> torch.Tensor:
    """Predictive variance of new rays like these, given all."""
    covariance = model.covariance.matrix(SMALL_ERRORS.variances)
    unit = torch.eye(len(covariance), dtype=torch.float64).reshape(-1, *problem.data.shape)
    errors = model.noise(SMALL_ERRORS.variances).apply(unit).flatten(1)
    image = covariance - errors
    every: torch.Tensor = covariance - image @ torch.linalg.solve(covariance, image)
    return every.diagonal().reshape(problem.data.shape)


@pytest.mark.parametrize("volume", [False, True], ids=["slice", "volume"])
def test_deviations_by_samples_are_those_of_the_covariance_given_all_but_the_test_rays(*, volume: bool) -> None:
    given, settings = (ball_scan(), quick(*MANY_DRAWS)) if volume else (scan(), config(*MANY_DRAWS))
    problem, found, whole = fitted(given, settings, part=False)
    _, _, part = fitted(given, settings, part=True)
    tempered = Temperature(1.3, 0.7)
    exact, sampled = (judged(problem, found, model, SMALL_ERRORS, tempered, settings) for model in (whole, part))
    assert sampled.draws == 200
    ratio = (sampled.calibration.z / exact.calibration.z).square().reciprocal()  # of variances
    error = math.sqrt(2 / 200)
    assert float((ratio - 1).abs().max()) < 5.5 * error
    assert abs(float(ratio.mean()) - 1) < 0.7 * error
    # Had the draws learned from the test rays, the test would have shown it.
    leaking = predicted_by_all(problem, whole)[problem.holdout.judges]
    right = (
        (problem.data - problem.transform(found.image)).double()[problem.holdout.judges] / exact.calibration.z
    ).square()
    assert float((leaking / right).mean()) < 1 - 1.3 * error
    for name in ("chi_square_error", "coverage_error"):
        assert getattr(sampled.calibration, name) > 0
    assert sampled.worst_residual == 0.7  # of the draws behind the temperature, where they are worse
    assert exact.worst_residual == 0.0


def test_the_scatter_of_few_draws_is_in_the_standard_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config("posterior.judging_samples=8")
    problem, found, model = fitted(scan(), settings, part=True)
    both = judged(problem, found, model, SMALL_ERRORS, Temperature(1.0), settings).calibration
    draws: list[Prediction] = []

    def kept(*a: Any, **k: Any) -> Prediction:
        draws.append(predict_by_samples(*a, **k))
        return draws[0]

    monkeypatch.setattr(judging, "predict_by_samples", kept)
    monkeypatch.setattr(Prediction, "scatter", lambda *_: Scatter(0.0, 0.0))
    views = judged(problem, found, model, SMALL_ERRORS, Temperature(1.0), settings).calibration
    monkeypatch.undo()
    residual = (problem.data - problem.transform(found.image)).double()[problem.holdout.judges]
    scatter = draws[0].scatter(residual)
    assert scatter.chi_square > 0.05
    assert both.chi_square_error**2 == pytest.approx(views.chi_square_error**2 + scatter.chi_square**2)
    assert both.coverage_error**2 == pytest.approx(views.coverage_error**2 + scatter.coverage_95**2)


def test_the_residual_behind_the_temperature_reaches_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, found, model = fitted(scan(), config(), part=True)
    assert 0 < tempering(problem, found, model, SMALL_ERRORS, config()).worst_residual <= 0.05
    for bad in (0.4, math.nan):

        def spoiled(*a: Any, bad: float = bad, **k: Any) -> Temperature:
            return temperature_by_samples(*a, **k)._replace(worst_residual=bad)

        monkeypatch.setattr(judging, "temperature_by_samples", spoiled)
        result = reconstruct(scan(), config(*BY_SAMPLES))
        assert result.diagnostics["worst_sample_residual"] == pytest.approx(bad, nan_ok=True)
        assert any("expected samples whose equations are solved" in note for note in result.provenance.notes)
