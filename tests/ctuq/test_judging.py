"""Verdicts by samples, where more rays are measured than their covariance is held of."""

from __future__ import annotations

import math

import pytest
import torch

from ctuq import load_config, reconstruct
from ctuq.config import Config
from ctuq.preparation import prepare
from ctuq.problem import pose
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from operators import ImageGrid, ParallelBeam, RayTransform

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
    exact, found = (reconstruct(scan(), config(f"prior.kind={kind}", *more)) for more in ((), BY_SAMPLES))
    assert found.image.equal(exact.image)
    assert 0.5 < float(found.std.median() / exact.std.median()) < 2
    assert found.calibration.n_rays == exact.calibration.n_rays
    assert found.calibration.chi_square == pytest.approx(float(found.calibration.z.square().mean()))
    assert any("judged one by one, by 8 draws" in note for note in found.provenance.notes)
    assert not any("judged one by one" in note for note in exact.provenance.notes)


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


def replace_sinogram(scan: Scan, sinogram: torch.Tensor) -> Scan:
    return Scan(sinogram, scan.geometry, name=scan.name)


def learned(found: Reconstruction) -> dict[str, float]:
    return {name: value for name, value in found.diagnostics.items() if name.startswith("variance_")}
