"""Scans of known objects: exact line integrals of an image, with the noise of photons or a Gaussian's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ctuq.scan import ScanGeometry
from operators import RayTransform

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedCounts:
    """What a detector row that counts photons would have written, or a detector of several.

    Args:
        counts: (angle, col), or (angle, row, col).
        flats: (frame, col), or (frame, row, col).
        darks: likewise.
    """

    counts: Array
    flats: Array
    darks: Array


def absorbing(image: Array, geometry: ScanGeometry, absorption: float) -> tuple[Array, Array]:
    """The image scaled so that its largest line integral is `absorption`, and its line integrals.

    Args:
        image: (row, col), or (slice, row, col), of the geometry's grid.
        geometry: of the scan.
        absorption: dimensionless.

    Returns:
        The image in 1/mm, and (angle, detector), or (angle, row, detector).
    """
    rays = RayTransform(geometry)(torch.as_tensor(image, dtype=torch.float64)).numpy()
    factor = absorption / rays.max()
    return image * factor, rays * factor


def counted(
    line_integrals: Array,
    *,
    photons: float,
    n_flats: int,
    n_darks: int,
    dark_level: float,
    rng: np.random.Generator,
) -> SimulatedCounts:
    """Poisson counts of the rays, of flats and of darks.

    Args:
        line_integrals: (angle, col), or (angle, row, col).
        photons: expected in a ray without an object, in flats as in views.
        n_flats: frames.
        n_darks: frames.
        dark_level: counts expected in every pixel without beam, which add to all others.
        rng: of the noise.
    """
    pixels = line_integrals.shape[1:]
    return SimulatedCounts(
        rng.poisson(photons * np.exp(-line_integrals) + dark_level).astype(np.float64),
        rng.poisson(photons + dark_level, (n_flats, *pixels)).astype(np.float64),
        rng.poisson(dark_level, (n_darks, *pixels)).astype(np.float64),
    )
