from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from ctuq import preparation, report
from ctuq.config import load_config
from ctuq.errors import InputError
from ctuq.problem import fitted_image
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from dip import DensePosterior, SampledPosterior
from operators import ImageGrid, ParallelBeam
from tests.operators.phantom import disc_sinogram

SHAPE = (24, 24)
NOISE = 0.1
STAGES = ["preprocess", "fit", "linearise", "evidence", "posterior"]
QUICK = (
    "grid.size=24",
    "network.channels=[4, 4]",
    "network.skip_channels=[0]",
    "fit.steps=30",
    "fit.refit_steps=6",
    "fit.tv_weights=[0]",
    "evidence.max_evaluations=8",
    "posterior.n_samples=400",
    "posterior.batch=50",
)


KERNEL = (
    "fit.members=2",
    "prior.kind=tangent-kernel",
    "network.output=sigmoid",
    "grid.largest_attenuation=1.2",
)


def disc_scan(
    *,
    n_views: int = 30,
    factor: float = 1.0,
    noise_variance: float | torch.Tensor | None = None,
    name: str = "disc",
    spoiled_rad: tuple[float, ...] = (),
) -> Scan:
    """A disc of 1/mm; the spoiled views are off by a steady 100."""
    angles = np.linspace(0, np.pi, n_views, endpoint=False)
    geometry = ParallelBeam(grid=ImageGrid(shape=SHAPE), angles_rad=angles, n_detectors=26)
    noise = NOISE * torch.randn(n_views, 26, generator=torch.Generator().manual_seed(7))
    sinogram = disc_sinogram(geometry) + noise
    sinogram[[geometry.angles_rad.index(angle) for angle in spoiled_rad]] += 100
    return Scan(factor * sinogram, geometry, noise_variance, name)


def run(*overrides: str, scan: Scan | None = None, seed: int = 0) -> Reconstruction:
    return reconstruct(scan or disc_scan(), load_config(overrides=[*QUICK, *overrides]), seed=seed)


@functools.cache
def dense() -> Reconstruction:
    return run()


@pytest.mark.parametrize("overrides", [(), KERNEL, ("preprocessing.centre=12",)], ids=["default", "kernel", "centre"])
def test_the_image_alone_is_that_of_the_reconstruction(overrides: tuple[str, ...]) -> None:
    image = fitted_image(disc_scan(), load_config(overrides=[*QUICK, *overrides]))
    torch.testing.assert_close(image, run(*overrides).image)


def same(first: Reconstruction, second: Reconstruction) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("image", "std", "samples"))


def test_an_image_with_error_bars_and_their_calibration() -> None:
    result = dense()
    for part in (result.image, result.std, result.standard_error):
        assert part.shape == SHAPE
        assert part.dtype == torch.float32
        assert part.isfinite().all()
    assert (result.std > 0).all()
    assert not result.standard_error.any()
    assert result.samples.shape == (16, *SHAPE)
    assert result.samples.isfinite().all()
    assert result.grid == ImageGrid(shape=SHAPE, pixel_mm=26 / 24)
    assert isinstance(result.posterior, DensePosterior)
    assert all(math.isfinite(value) for value in result.diagnostics.values())
    assert result.noise_variance > 0
    assert len(result.fit_steps) == len(result.fit_loss) == len(result.holdout_loss)


def test_calibration_is_of_the_judging_views_alone() -> None:
    calibration = dense().calibration
    assert math.isfinite(calibration.chi_square)
    assert calibration.chi_square > 0
    assert 0 <= calibration.coverage_95 <= 1
    assert calibration.z.isfinite().all()
    assert (calibration.n_angles, calibration.n_rays) == (4, 4 * 26)
    assert calibration.whole_views
    assert 0 < calibration.chi_square_error < 1
    assert 0 < calibration.coverage_error < 1
    assert set(calibration.angles_rad) < set(disc_scan().geometry.angles_rad)


def test_judging_views_enter_the_image_and_none_of_what_they_judge() -> None:
    spoiled = run(scan=disc_scan(spoiled_rad=dense().calibration.angles_rad))
    assert not torch.equal(spoiled.image, dense().image)
    assert torch.equal(spoiled.std, dense().std)
    assert torch.equal(spoiled.holdout_loss, dense().holdout_loss)
    assert spoiled.calibration.temperature == dense().calibration.temperature
    assert spoiled.calibration.chi_square > dense().calibration.chi_square


def test_few_views_are_judged_by_single_rays_which_see_no_smooth_errors() -> None:
    few = run(scan=disc_scan(n_views=9))
    assert "variance_smooth" in dense().diagnostics
    assert "variance_smooth" not in few.diagnostics
    assert few.calibration.n_rays == round(0.125 * 9 * 26)
    assert not few.calibration.whole_views
    assert few.std.isfinite().all()


def test_same_seed_same_bytes_and_another_seed_or_name_differs() -> None:
    assert same(run(), dense())
    assert not torch.equal(run(seed=1).image, dense().image)
    assert not torch.equal(run(scan=disc_scan(name="other")).image, dense().image)


def test_units_of_the_data_are_units_of_the_image() -> None:
    # A power of two is exact in every step.
    large = run(scan=disc_scan(factor=4.0))
    assert torch.equal(large.image, 4 * dense().image)
    assert torch.equal(large.std, 4 * dense().std)
    assert large.noise_variance == 16 * dense().noise_variance
    assert large.calibration.chi_square == dense().calibration.chi_square


def test_sampled_and_exact_error_bars_agree_within_standard_errors() -> None:
    sampled = run("posterior.method=cholesky")
    assert isinstance(sampled.posterior, SampledPosterior)
    assert torch.equal(sampled.image, dense().image)
    assert (sampled.standard_error > 0).all()
    # 400 samples: the variance has a relative error of √(2/400), the deviation half that.
    torch.testing.assert_close(sampled.standard_error, sampled.std / math.sqrt(2 * 400))
    ratio = (sampled.std.double() / dense().std.double()).square()
    assert float(((ratio - 1) / math.sqrt(2 / 400)).abs().max()) < 5
    assert sampled.diagnostics["n_variance_samples"] == 400
    assert sampled.diagnostics["worst_sample_residual"] < 1e-2


def test_samples_that_fall_short_are_noted_with_what_else_to_try() -> None:
    assert not any("posterior" in note for note in dense().provenance.notes)
    quick = ("posterior.max_iterations=2", "posterior.preconditioner_rank=0", "posterior.n_samples=8")
    result = run("posterior.method=sgd", *quick)
    assert result.diagnostics["worst_sample_residual"] > 0.05
    (note,) = (note for note in result.provenance.notes if "posterior" in note)
    assert "solved to posterior.tolerance=0.05, got " in note
    assert "with posterior.method=sgd" in note
    assert "or posterior.method=cg" in note


def test_the_linearisation_is_judged_where_there_are_weights() -> None:
    exact, sampled = (result.diagnostics["linearisation_error"] for result in (dense(), run("posterior.method=cg")))
    assert 0 < exact == sampled
    assert "linearisation_error" not in run(*KERNEL).diagnostics


def test_samples_scatter_by_the_error_bars() -> None:
    n = 400
    result = run(f"posterior.kept_samples={n}")
    deviations = (result.samples - result.image).double() / result.std
    assert float((deviations.mean(0) * math.sqrt(n)).abs().max()) < 5
    assert float(((deviations.square().mean(0) - 1) / math.sqrt(2 / n)).abs().max()) < 5


def test_noise_may_differ_from_ray_to_ray() -> None:
    variance = torch.full((30, 26), NOISE**2)
    even = run(scan=disc_scan(noise_variance=variance))
    torch.testing.assert_close(even.std, dense().std, rtol=1e-3, atol=0)
    assert torch.equal(run(scan=disc_scan(noise_variance=NOISE**2)).image, dense().image)
    variance[:, :13] *= 100
    uneven = run(scan=disc_scan(noise_variance=variance))
    assert uneven.std.isfinite().all()
    assert not torch.equal(uneven.image, dense().image)


def test_masked_rays_neither_choose_nor_judge_nor_leave_a_trace() -> None:
    """Whatever the values of masked rays are, the result is the same to the last bit."""
    variance = torch.full((30, 26), NOISE**2)
    variance[:, 11] = variance[4] = variance[9, 3] = 1e12
    scan = disc_scan(noise_variance=variance)
    clean = run(scan=scan)
    assert (clean.calibration.n_rays, clean.calibration.n_angles) == (4 * 25 - (9 in _judging(clean)), 4)
    assert 4 not in _judging(clean)
    assert "variance_smooth" in clean.diagnostics  # views are held out as a whole still
    spoiled = run(scan=replace(scan, sinogram=torch.where(scan.masked, 1e3, scan.sinogram)))
    assert same(spoiled, clean)
    assert spoiled.calibration.chi_square == clean.calibration.chi_square
    assert torch.equal(spoiled.holdout_loss, clean.holdout_loss)


def _judging(result: Reconstruction) -> set[int]:
    angles = np.linspace(0, np.pi, 30, endpoint=False)
    return {int(np.abs(angles - angle).argmin()) for angle in result.calibration.angles_rad}


def test_broken_columns_that_are_named_are_masked_and_the_step_is_kept() -> None:
    result = run("preprocessing.broken_columns=[3, 20]", "preprocessing.centre=12.5")
    assert [step.name for step in result.provenance.steps] == ["named columns", "rotation axis"]
    assert result.rays is not None
    assert isinstance(result.rays.noise.variance, torch.Tensor)
    assert (result.rays.noise.variance[:, [3, 20]] > 1e5 * result.rays.noise.variance[:, :3].max()).all()
    assert result.rays.geometry.cor_index == 12.5
    assert result.rays.sinogram is not None
    assert result.rays.sinogram.shape == result.rays.geometry.sinogram_shape
    assert result.provenance.input_sha256 == disc_scan().sha256


def test_a_mask_alone_makes_the_fit_no_longer() -> None:
    """Only noise that is stated is worth trying a second misfit."""
    totals: dict[str, int] = {}
    variance = torch.full((30, 26), NOISE**2)
    for name, scan in (("bare", disc_scan()), ("masked", disc_scan()), ("stated", disc_scan(noise_variance=variance))):
        columns = "[3]" if name == "masked" else "[]"
        settings = load_config(overrides=[*QUICK, f"preprocessing.broken_columns={columns}"])

        def on_step(stage: str, done: int, total: int, info: Mapping[str, float], name: str = name) -> None:
            totals[name] = total

        fitted_image(scan, settings, on_step=on_step)
    assert totals["masked"] == totals["bare"] < totals["stated"]


@pytest.mark.parametrize(
    "overrides",
    [
        ("prior.kind=block",),
        ("prior.kind=layer",),
        ("prior.kind=filter-gp",),
        ("prior.kind=g-prior",),
        ("evidence.method=exact",),
        ("network.norm=group", "prior.kind=g-prior", "posterior.method=cg"),
        ("evidence.method=em", "prior.kind=block"),
        ("evidence.method=tv-map", "prior.kind=filter-gp"),
        ("evidence.max_rays=100",),
        ("network.output=sigmoid", "grid.largest_attenuation=1.2"),
        KERNEL,
    ],
)
def test_every_way_of_learning_gives_finite_positive_error_bars(overrides: tuple[str, ...]) -> None:
    result = run(*overrides)
    assert result.std.isfinite().all()
    assert (result.std > 0).all()
    assert math.isfinite(result.calibration.chi_square)


def test_members_images_are_averaged_and_no_judging_view_reaches_their_verdict() -> None:
    plain = run(*KERNEL)
    judging = plain.calibration.angles_rad
    spoiled = run(*KERNEL, scan=disc_scan(spoiled_rad=judging))
    for name in ("variance_network", "variance_flat", "variance_noise", "chosen_step"):
        assert spoiled.diagnostics[name] == plain.diagnostics[name]
    assert spoiled.calibration.chi_square > 10 * plain.calibration.chi_square
    assert not torch.equal(spoiled.image, plain.image)
    assert not torch.equal(plain.image, run(*KERNEL, "fit.members=1").image)


def test_a_cold_posterior_scales_the_error_bars_and_says_so() -> None:
    bayes, cold = run(*KERNEL), run(*KERNEL, "posterior.image_temperature=0.25")
    torch.testing.assert_close(cold.std, bayes.std / 2)
    torch.testing.assert_close(cold.samples - cold.image, (bayes.samples - bayes.image) / 2, atol=1e-6, rtol=1e-4)
    assert cold.calibration.chi_square == bayes.calibration.chi_square
    assert any("posterior.image_temperature=0.25" in note for note in cold.provenance.notes)
    assert not any("image_temperature" in note for note in bayes.provenance.notes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("fit.members=2",), "expected fit.members=1 with prior.kind=isotropic"),
        ((*KERNEL, "network.output=linear"), "expected network.output=sigmoid with prior.kind=tangent-kernel"),
        ((*KERNEL, "posterior.method=cg"), "and a dense posterior"),
        ((*KERNEL, "posterior.dense_pixels=100"), "at most posterior.dense_pixels=100 pixels"),
        ((*KERNEL, "evidence.method=em"), "expected evidence.method=held-out with prior.kind=tangent-kernel"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*overrides)


def test_a_prior_that_the_network_cannot_have_is_refused_before_the_fit() -> None:
    with pytest.raises(InputError, match=r"try 'block' or 'g-prior' \(prior\.kind\)"):
        run("network.norm=group")


def test_a_sigmoid_output_needs_to_know_its_limit() -> None:
    with pytest.raises(InputError, match=r"grid\.largest_attenuation"):
        run("network.output=sigmoid")


def test_no_pixel_is_more_certain_than_the_floor_before_the_data() -> None:
    result = run("prior.pixel_floor=0.2")
    variance = result.diagnostics["variance_pixels"] / result.calibration.temperature
    assert variance >= 0.2**2 * (1 - 1e-9)


def test_provenance_says_what_was_done() -> None:
    provenance = dense().provenance
    assert (provenance.scan_name, provenance.seed) == ("disc", 0)
    assert provenance.input_sha256 == disc_scan().sha256
    assert load_config(provenance.config) == load_config(overrides=QUICK)
    assert list(provenance.stage_seconds) == STAGES
    assert provenance.start_time <= provenance.end_time
    assert {"ctuq", "torch"} <= set(provenance.versions)


def test_evidence_that_stops_early_leaves_a_note() -> None:
    result = run("evidence.max_evaluations=1")
    assert any("evidence.max_evaluations" in note for note in result.provenance.notes)


def test_stages_are_told_in_order_and_to_their_end() -> None:
    told: list[tuple[str, int, int]] = []

    def on_step(stage: str, done: int, total: int, info: Mapping[str, float]) -> None:
        told.append((stage, done, total))
        assert all(math.isfinite(value) for value in info.values())

    reconstruct(disc_scan(), load_config(overrides=QUICK), on_step=on_step)
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == STAGES
    for stage in ("fit", "linearise", "posterior"):
        last = [(done, total) for name, done, total in told if name == stage][-1]
        assert last[0] == last[1]


def test_what_does_not_fit_into_memory_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "available_memory", lambda _device: 10**6)
    told: list[object] = []
    with pytest.raises(InputError, match="free memory"):
        reconstruct(disc_scan(), load_config(overrides=QUICK), on_step=lambda *step: told.append(step))
    assert not told


def test_every_stage_begins_and_ends() -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    reconstruct(
        disc_scan(),
        load_config(overrides=[*QUICK, "evidence.max_evaluations=1000"]),  # the search ends before that
        on_step=lambda stage, done, total, _: told.setdefault(stage, []).append((done, total)),
    )
    assert list(told) == STAGES
    assert all(steps[0][0] == 0 and steps[-1][0] == steps[-1][1] for steps in told.values())


@pytest.mark.parametrize("overrides", [(), KERNEL])
def test_the_report_says_what_every_number_means(overrides: tuple[str, ...]) -> None:
    assert set(run(*overrides).diagnostics) <= set(report._MEANINGS)
