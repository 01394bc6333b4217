from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import scipy.io
import torch
from torch import Tensor

from operators import FanBeam, ImageGrid, ParallelBeam, filtered_back_projection
from operators.angular_weights import angular_weights
from operators.filtered_back_projection import Window
from tests.operators.phantom import disc_image, disc_sinogram, psnr

GRID = ImageGrid(shape=(80, 80), pixel_mm=0.4)
TRUTH = disc_image(GRID)
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def fan(angles: Any, n_detectors: int = 160, cor_index: float | None = None) -> FanBeam:
    return FanBeam(
        grid=GRID,
        angles_rad=angles,
        n_detectors=n_detectors,
        pitch_mm=0.5,
        source_origin_mm=60,
        origin_detector_mm=40,
        cor_index=cor_index,
    )


def parallel(angles: Any, n_detectors: int = 120, cor_index: float | None = None) -> ParallelBeam:
    return ParallelBeam(grid=GRID, angles_rad=angles, n_detectors=n_detectors, pitch_mm=0.4, cor_index=cor_index)


CIRCLE = np.linspace(0, 2 * math.pi, 360, endpoint=False)
SCANS: dict[str, ParallelBeam | FanBeam] = {
    "parallel": parallel(CIRCLE[:180]),
    "parallel-180-inclusive": parallel(np.deg2rad(np.arange(181))),
    "parallel-offset": parallel(CIRCLE[:180], cor_index=65.2),
    "parallel-half-acquisition": parallel(CIRCLE, n_detectors=70, cor_index=19.5),
    "fan": fan(CIRCLE),
    "fan-360-inclusive": fan(np.deg2rad(np.arange(361))),
    "fan-offset": fan(CIRCLE, cor_index=74.3),
    "fan-half-acquisition": fan(CIRCLE, n_detectors=100, cor_index=75.0),
    "fan-short": fan(np.deg2rad(np.arange(0, 226))),
    "fan-short-shifted-reversed": fan(np.deg2rad(np.arange(0, 230) + 250)[::-1].copy()),
    "fan-long": fan(np.deg2rad(np.arange(0, 300))),
}


@pytest.mark.parametrize("name", SCANS)
def test_disc_comes_back(name: str) -> None:
    image = filtered_back_projection(SCANS[name], disc_sinogram(SCANS[name]))
    inside = TRUTH == 1
    assert psnr(image, TRUTH) > 26
    assert float(image[inside].mean()) == pytest.approx(1, abs=0.01)
    assert float(image[inside].std()) < 0.05


def test_uneven_angles_count_by_their_gaps() -> None:
    angles = np.random.default_rng(5).uniform(0, math.pi, 60)
    sinogram = disc_sinogram(parallel(angles))
    weighted = psnr(filtered_back_projection(parallel(angles), sinogram), TRUTH)
    equal = sinogram * math.pi / 60 / angular_weights(parallel(angles))
    unweighted = psnr(filtered_back_projection(parallel(angles), equal), TRUTH)
    assert weighted > 18
    assert weighted > unweighted + 3


@pytest.mark.parametrize("make", [parallel, fan])
def test_weights_cover_pi(make: Any) -> None:
    angles = np.random.default_rng(1).uniform(-9, 9, 25)
    weights = angular_weights(make(angles)).expand(25, -1)
    torch.testing.assert_close(weights.sum(0), torch.full_like(weights[0], math.pi))


def test_repeated_views_share() -> None:
    weights = angular_weights(parallel([0.0, 1.0, 1.0, 1.0, 2.0, math.pi]))[:, 0]
    torch.testing.assert_close(weights[1] * 3, weights[1:4].sum())
    torch.testing.assert_close(weights.sum(), torch.tensor(math.pi, dtype=torch.float64))
    assert weights[0] == weights[5]


def test_views_beside_a_missing_wedge_do_not_stand_in_for_it() -> None:
    weights = angular_weights(parallel(np.deg2rad(np.arange(30, 150))))
    torch.testing.assert_close(weights, torch.full_like(weights, math.radians(1)))


def test_short_scan_needs_its_parker_weights() -> None:
    geometry = SCANS["fan-short"]
    sinogram = disc_sinogram(geometry)
    plain = sinogram * math.radians(1) / angular_weights(geometry).clamp(min=1e-6)
    assert psnr(filtered_back_projection(geometry, plain), TRUTH) < 20


@pytest.mark.parametrize("name", ["parallel-offset", "fan-offset"])
def test_batch_dtype_and_gradient(name: str) -> None:
    geometry = SCANS[name].select(list(range(0, 180, 20)))
    sinogram = torch.randn(2, 3, *geometry.sinogram_shape, generator=torch.Generator().manual_seed(0))
    batch = filtered_back_projection(geometry, sinogram)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch[1, 2], filtered_back_projection(geometry, sinogram[1, 2]), rtol=1e-4, atol=1e-5)
    exact = filtered_back_projection(geometry, sinogram.double())
    assert float((batch - exact).norm() / exact.norm()) < 1e-3
    sinogram.requires_grad_()
    (gradient,) = torch.autograd.grad(filtered_back_projection(geometry, sinogram).sum(), sinogram)
    assert gradient.isfinite().all()


def test_hann_damps_noise() -> None:
    geometry = SCANS["fan"]
    noise = torch.randn(geometry.sinogram_shape, generator=torch.Generator().manual_seed(0))
    smooth = filtered_back_projection(geometry, noise, window="hann")
    assert float(smooth.std()) < 0.6 * float(filtered_back_projection(geometry, noise).std())


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="sinogram must end in the axes"):
        filtered_back_projection(SCANS["fan"], torch.zeros(3, 4))
    with pytest.raises(ValueError, match="window must be"):
        filtered_back_projection(parallel([0.0]), torch.zeros(1, 120), window=cast("Window", "cosine"))


def needs(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"needs {path} of the shared data folder, not found under {DATA}")
    return DATA / path


def correlation(a: Tensor, b: Any) -> float:
    return float(np.corrcoef(a.numpy().ravel(), np.asarray(b).ravel())[0, 1])


def test_htc2022_is_the_organisers_reconstruction() -> None:
    scan = scipy.io.loadmat(needs("htc2022/htc2022_tb_full.mat"), simplify_cells=True)["CtDataFull"]
    expected = scipy.io.loadmat(needs("htc2022/htc2022_tb_full_recon_fbp.mat"))["reconFullFbp"] / 0.148322
    geometry = FanBeam(
        grid=ImageGrid(shape=(512, 512), pixel_mm=0.148322),
        angles_rad=np.deg2rad(scan["parameters"]["angles"][:720]),
        n_detectors=560,
        pitch_mm=0.2,
        source_origin_mm=410.66,
        origin_detector_mm=553.74 - 410.66,
    )
    image = filtered_back_projection(geometry, torch.from_numpy(scan["sinogram"][:720].astype(np.float32)))
    assert correlation(image, expected) > 0.9999
    assert float(image.sum()) == pytest.approx(expected.sum(), rel=1e-3)


def test_lotus_is_the_reference_with_its_offset_axis() -> None:
    scan, reference = np.load(needs("fips_lotus/lotus_fan.npz")), np.load(needs("fips_lotus/lotus_fbp_501.npz"))

    def reconstruct(cor_index: float, size: int) -> Tensor:
        geometry = FanBeam(
            grid=ImageGrid(shape=(size, size), pixel_mm=0.19),
            angles_rad=scan["angles_rad"],
            n_detectors=560,
            pitch_mm=0.2,
            source_origin_mm=540,
            origin_detector_mm=90,
            cor_index=cor_index,
        )
        return filtered_back_projection(geometry, torch.from_numpy(scan["sino"]), window="hann")

    image = reference["image"]
    assert correlation(reconstruct(279.5 - 1.43, 501), image) > 0.9999
    assert correlation(reconstruct(279.5 + 1.43, 101), image[200:301, 200:301]) < 0.99
