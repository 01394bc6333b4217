from __future__ import annotations

import astra
import pytest
import torch

from dip import FitSettings
from operators import ConeBeam, RayTransform
from tests.benchmarks.cone_volume import simulated
from tests.benchmarks.flop_counts import achieved, evidence_flop, fit_flop, linearise_flop, posterior_flop
from tests.benchmarks.gpu import main
from tests.benchmarks.gpu_projectors import bytes_of_a_product, foreign_figures, projectors
from tests.benchmarks.gpu_slices import checks, simulated_slice, slice_geometry
from tests.benchmarks.volume_projection import cone_of
from tests.operators.ball import ball_volume

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available() or not astra.use_cuda(), reason="no usable CUDA device")


def test_a_fit_is_three_passes_a_step_and_one_a_look() -> None:
    # Two attempts of 7 steps with looks after 3, 6 and 7, and three refits of 2 with looks after both.
    settings = FitSettings(steps=7, refit_steps=2, checkpoints=2, members=2)
    passes = 2 * (3 * 7 + 3) + 3 * (3 * 2 + 2)
    assert fit_flop(settings, 10.0, noise_stated=False) == 2 * passes * 10
    # Stated noise is tried with a second misfit.
    assert fit_flop(settings, 10.0, noise_stated=True) == 2 * (passes + 2 * (3 * 7 + 3)) * 10


def test_algebra_is_counted_as_by_hand() -> None:
    assert linearise_flop(4, 5, 100.0) == {"float32": 800, "float64": 80}
    # Two evaluations of 27 each, a factor of 9, and 2 columns of 2 * 9 each.
    assert evidence_flop(2, 3) == {"float64": 54}
    # Two factors of 9, and 2 + 4 columns of 18 each; four draws of three products of two passes.
    assert posterior_flop(6, 3, 4, 100.0) == {"float32": 2400, "float64": 9 + 54 + 144 + 504}


def test_a_share_of_the_peak_is_the_time_at_the_peak() -> None:
    found = achieved({"float32": 30.0, "float64": 10.0}, 4.0, {"float32": 15.0, "float64": 10.0, "bfloat16": 1.0})
    assert (found["flop_per_second"], found["share_of_peak"]) == (10.0, 0.75)


def test_bytes_of_a_planar_product_are_those_of_its_matrix_and_vectors() -> None:
    transform = RayTransform(slice_geometry(6, 3, 4))
    entries, rays, pixels = transform.matrix().nnz, 12, 36
    assert bytes_of_a_product(transform, 2, transposed=False) == 8 * entries + 4 * (rays + 1) + 8 * (rays + pixels)
    assert bytes_of_a_product(transform, 2, transposed=True) == 8 * entries + 4 * (pixels + 1) + 8 * (rays + pixels)


@pytest.mark.parametrize("transposed", [False, True])
def test_bytes_of_a_cone_are_those_of_every_view(transposed: bool) -> None:
    cone = cone_of(6, 3, 4)
    lines = RayTransform(cone, kernel="line")
    rows = 6**3 if transposed else 16
    expected = 8 * lines.matrix().nnz + 3 * (4 * (rows + 1) + 4 * (16 + 6**3))
    assert bytes_of_a_product(lines, 1, transposed=transposed) == expected
    # Footprints are two matrices, and what is between them, 4 detector rows of 36 pixels, is written and read again.
    footprints = RayTransform(cone)
    one, two = (bytes_of_a_product(footprints, n, transposed=transposed) for n in (1, 2))
    assert two - one == 3 * 4 * (6**3 + 2 * 4 * 36 + 16)


def test_checks_say_what_fails() -> None:
    good = {
        "chi_square": 1.5,
        "psnr": 30.0,
        "psnr_fbp": 20.0,
        "psnr_fbp_hann": 25.0,
        "worst_sample_residual": 0.01,
        "jacobian_error": 1e-6,
    }
    assert all(checks(good, 0.02, slack=0.2, on_time=True).values())
    bad = good | {"psnr": 24.0, "worst_sample_residual": float("nan"), "jacobian_error": 3e-4}
    assert not any(checks(bad, 0.02, slack=0.0, on_time=False).values())


def test_a_projector_is_held_against_the_lines() -> None:
    cone: ConeBeam = cone_of(8, 4, 6)
    exact = RayTransform(cone, kernel="line")
    volume = ball_volume(cone.grid).float()
    same, other = (foreign_figures(RayTransform(cone, kernel=kernel), exact, volume, 1) for kernel in ("line", "strip"))
    assert same["values_off_the_lines"] == 0
    assert all(same["checks"].values())
    assert other["values_off_the_lines"] > 0
    assert set(same["projections_per_second"]) == {"1", "16"}


def test_lines_stand_for_the_mean_over_a_detector_pixel() -> None:
    exact, truth = simulated(16, 4, 11, seed=2)
    by_lines, same = simulated(16, 4, 11, seed=2, lines=4)
    assert by_lines.geometry == exact.geometry
    torch.testing.assert_close(same, truth)
    assert float((by_lines.sinogram - exact.sinogram).norm() / exact.sinogram.norm()) < 0.03
    flat = simulated_slice(32, 4, 16, seed=0)
    expected = RayTransform(flat.scan.planar)(flat.truth).float()
    assert float((flat.scan.sinogram - expected).norm() / expected.norm()) < 0.08  # noise, and pixels


@pytest.mark.slow
def test_toys_hold_on_the_cpu() -> None:
    assert main(["--device", "cpu", "--small", "--parts", "projectors", "slice60", "--name", "none"]) == 0


@pytest.mark.gpu
@needs_gpu
def test_projectors_hold_on_the_gpu() -> None:
    checks_of_both = projectors("cuda", small=True)["checks"]
    assert any("ASTRA" in what for what in checks_of_both)
    assert all(checks_of_both.values())


@pytest.mark.gpu
@pytest.mark.slow
@needs_gpu
def test_toys_hold_on_the_gpu() -> None:
    assert main(["--device", "cuda", "--small", "--parts", "slice60", "volume", "--name", "none"]) == 0
