"""A cone beam's scan of a ball, small enough to be reconstructed in a test."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ctuq.config import Config, load_config
from ctuq.scan import Scan
from operators import ConeBeam, RayTransform, VolumeGrid

SHAPE = (6, 8, 8)
QUICK = (
    "grid.size=8",
    "network.channels=[3, 3]",
    "network.skip_channels=[0]",
    "fit.steps=20",
    "fit.refit_steps=4",
    "fit.tv_weights=[0]",
    "fit.bfloat16=false",
    "evidence.max_evaluations=15",
    "posterior.n_samples=8",
    "posterior.kept_samples=4",
    "posterior.batch=8",
)


def cone_beam(**changes: Any) -> ConeBeam:
    """24 views of 6 by 8 detector pixels."""
    lengths: dict[str, Any] = {"pitch_mm": 1.5, "source_origin_mm": 40.0, "origin_detector_mm": 20.0}
    detector: dict[str, Any] = {"n_rows": 6, "n_detectors": 8}
    angles = np.radians(np.arange(24) * 15.0)
    return ConeBeam(**{"grid": VolumeGrid(shape=SHAPE), "angles_rad": angles, **lengths, **detector, **changes})


def ball_scan(**changes: Any) -> Scan:
    """A ball of 0.1/mm, with noise."""
    geometry = cone_beam(**changes)
    z, y, x = torch.meshgrid(
        geometry.grid.z_mm(), geometry.grid.plane.y_mm(), geometry.grid.plane.x_mm(), indexing="ij"
    )
    rays = RayTransform(geometry)(0.1 * (x.square() + y.square() + z.square() < 6).double())
    noise = 0.005 * torch.randn(rays.shape, generator=torch.Generator().manual_seed(3), dtype=rays.dtype)
    return Scan(rays + noise, geometry, None, "ball")


def quick(*overrides: str) -> Config:
    """Settings of a reconstruction that takes a second."""
    return load_config(overrides=[*QUICK, *overrides])
