"""What the tests of planning share: a Gaussian model in place of the network, so that reconstructing takes no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from ctuq.config import Config
from ctuq.preparation import prepare
from ctuq.rays import Rays
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from dip import DensePosterior
from operators import (
    FanBeam,
    GaussianNoise,
    Geometry,
    ImageGrid,
    ParallelBeam,
    RayTransform,
    filtered_back_projection,
)
from tests.ctuq.fake_results import fake_provenance, fake_reconstruction
from tests.operators.phantom import disc_sinogram

SIZE = 12
N_DETECTORS = 14
SMALL = ("grid.size=12", "scan.detector_bin=1")


def geometry_of(angles_deg: object, *, fan: bool = False) -> Geometry:
    angles_rad = np.radians(np.asarray(angles_deg, dtype=np.float64))
    grid = ImageGrid(shape=(SIZE, SIZE), pixel_mm=1.0)
    if fan:
        return FanBeam(
            grid=grid,
            angles_rad=angles_rad,
            n_detectors=N_DETECTORS,
            pitch_mm=1.5,
            source_origin_mm=40.0,
            origin_detector_mm=20.0,
            cor_index=6.7,
        )
    return ParallelBeam(grid=grid, angles_rad=angles_rad, n_detectors=N_DETECTORS)


def scan_of(
    angles_deg: object, *, fan: bool = False, name: str = "disc", noise_variance: torch.Tensor | None = None
) -> Scan:
    geometry = geometry_of(angles_deg, fan=fan)
    return Scan(disc_sinogram(geometry), geometry, noise_variance, name, file_name=f"{name}.h5")


class GaussianReconstruct:
    """Stands in for `ctuq.reconstruct`, and counts; it fails at a call that a test names."""

    def __init__(self) -> None:
        self.n_views: list[int] = []
        self.scans: list[Scan] = []
        self.fails_at: int | None = None

    def __call__(
        self,
        scan: Scan,
        config: Config | None = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        on_step: Callable[[str, int, int, Mapping[str, float]], None] | None = None,
    ) -> Reconstruction:
        self.n_views.append(scan.geometry.n_angles)
        self.scans.append(scan)
        if len(self.n_views) == self.fails_at:
            raise KeyboardInterrupt
        if on_step is not None:
            on_step("fit", 1, 1, {})
        return gaussian_reconstruction(prepare(scan, config or Config()), config)


def gaussian_reconstruction(
    scan: Scan, config: Config | None = None, *, n_samples: int = 16, smooth: bool = False
) -> Reconstruction:
    """Under a prior that is smooth, and firmer towards the left."""
    geometry = scan.planar
    grid = geometry.grid
    x, y = (c.flatten() for c in torch.meshgrid(grid.x_mm(), grid.y_mm(), indexing="xy"))
    distance = (x[:, None] - x).hypot(y[:, None] - y)
    size = 0.01 * (1.5 + x / x.abs().max())
    root = torch.linalg.cholesky(size[:, None] * size * torch.exp(-distance / 3) + 1e-9 * torch.eye(len(x)))
    variance = torch.full(geometry.sinogram_shape, 1e-4, dtype=torch.float64)
    if scan.noise_stated:
        variance = torch.as_tensor(scan.noise_variance, dtype=torch.float64)
    shared = 1e-5 * torch.ones(geometry.n_detectors, geometry.n_detectors).double() if smooth else None
    noise = GaussianNoise(variance, shared)
    image = filtered_back_projection(geometry, scan.sinogram).float()
    posterior = DensePosterior(RayTransform(geometry), root, noise=noise, mean=image)
    draws = posterior.sample(n_samples, generator=torch.Generator().manual_seed(1)).images
    made = fake_reconstruction(shape=grid.shape, pixel_mm=grid.pixel_mm, image=image)
    return replace(
        made,
        std=posterior.variance().variance.sqrt().float(),
        samples=draws.float(),
        rays=Rays(geometry, noise, scan.sinogram.float(), scan.noise_stated),
        posterior=posterior,
        provenance=replace(
            fake_provenance(scan_name=scan.name), input_path=scan.file_name, config=(config or Config()).as_json()
        ),
    )
