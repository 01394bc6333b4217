"""A small reconstruction made without reconstructing: a disc with holes, uncertain along its edges."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import torch
from torch import Tensor

from ctuq.reconstruction import Provenance, Reconstruction
from dip.calibration import Calibration
from operators import ImageGrid

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def fake_provenance(*, start: datetime = START, scan_name: str = "disc", notes: tuple[str, ...] = ()) -> Provenance:
    return Provenance(
        scan_name=scan_name,
        input_path="disc.h5",
        input_sha256="ab" * 32,
        config={"grid": {"size": 32}, "fit": {"iterations": 900, "tv_weight": 1e-4}, "prior": {"kind": "block"}},
        seed=7,
        versions={"ctuq": "0.1.0", "torch": "2.13.0"},
        start_time=start,
        end_time=start + timedelta(seconds=61.5),
        stage_seconds={"read": 0.5, "fit": 50.0, "evidence": 8.0, "samples": 3.0},
        command="ctuq reconstruct disc.h5 --out disc-again.h5 --seed 7",
        notes=notes,
    )


def fake_calibration(*, spread: float = 1.0, n_rays: int = 1260, seed: int = 0) -> Calibration:
    """Z-scores of standard deviation `spread`, and what follows from them."""
    z = spread * torch.randn(n_rays, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    nominal = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    limits = math.sqrt(2) * torch.erfinv(nominal)
    observed = (z.abs()[:, None] <= limits).double().mean(0)
    return Calibration(
        chi_square=float((z**2).mean()),
        coverage_95=float((z.abs() <= 1.959964).double().mean()),
        z=z,
        nominal=nominal,
        observed=observed,
        n_rays=n_rays,
        n_angles=9,
        temperature=1.1,
        angles_rad=tuple(math.radians(angle) for angle in range(3, 363, 40)),
        chi_square_error=0.05,
        coverage_error=0.008,
    )


def disc(grid: ImageGrid) -> Tensor:
    """(rows, cols) in 1/mm: 0.05 inside a disc with two holes."""
    x, y = torch.meshgrid(grid.x_mm(), grid.y_mm(), indexing="xy")
    side = grid.extent_mm[1]
    image = 0.05 * (x.hypot(y) < 0.42 * side).double()
    image[(x - 0.15 * side).hypot(y - 0.1 * side) < 0.1 * side] = 0
    image[(x + 0.1 * side).hypot(y + 0.15 * side) < 0.06 * side] = 0
    return image


def fake_reconstruction(  # every part that a test wants to be odd
    *,
    shape: tuple[int, int] = (24, 32),
    image: Tensor | None = None,
    pixel_mm: float = 0.6,
    n_samples: int = 4,
    calibration: Calibration | None = None,
    provenance: Provenance | None = None,
) -> Reconstruction:
    grid = ImageGrid(shape=shape, pixel_mm=pixel_mm)
    image = (disc(grid) if image is None else image).float()
    down, right = (torch.zeros_like(image) for _ in range(2))
    down[1:], right[:, 1:] = image.diff(dim=0).abs(), image.diff(dim=1).abs()
    std = 0.0005 + 0.15 * (down + right)
    noise = torch.randn(n_samples, *shape, generator=torch.Generator().manual_seed(3))
    steps = torch.arange(0, 1000, 50)
    return Reconstruction(
        image=image,
        std=std,
        standard_error=std / math.sqrt(2 * 64),
        samples=image + std * noise,
        noise_variance=1.4e-4,
        grid=grid,
        calibration=fake_calibration() if calibration is None else calibration,
        provenance=fake_provenance() if provenance is None else provenance,
        diagnostics={"chosen_step": 700.0, "tv_weight": 1e-4, "log_evidence": 3210.5, "worst_residual": 1e-6},
        fit_steps=steps,
        fit_loss=torch.exp(-steps / 200) + 0.01,
        holdout_loss=torch.exp(-steps / 200) + 0.015 + 2e-8 * (steps - 700.0) ** 2,
    )
