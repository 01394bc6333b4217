"""The rays behind a reconstruction: where they run, how noisy they are and what was measured along them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ctuq.scan import ScanGeometry
from operators import ConeBeam, FanBeam, GaussianNoise, Geometry, ImageGrid, ParallelBeam, VolumeGrid
from operators.geometry import AngleInput


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays as they were reconstructed.

    Args:
        geometry: after thinning and binning, on the image's grid.
        noise: of line integrals, dimensionless²: the variance of each ray (angle, detector) float64, of volumes (angle,
            row, detector), and the covariance that rays of one view share, if they share any, of volumes those of one
            detector row. Scaled as the posterior is.
        sinogram: likewise, float32, the line integrals that were reconstructed; None when read from an older
            file, which has none.
        noise_stated: whether the scan said how noisy each ray is, so that the noise of other views follows from it.
    """

    geometry: ScanGeometry
    noise: GaussianNoise
    sinogram: Tensor | None = None
    noise_stated: bool = False

    @property
    def noise_of_a_view(self) -> GaussianNoise:
        """Of a view that was not measured.

        Where noise is stated, what differs from pixel to pixel is how many photons get through. Elsewhere it is what
        the grid cannot represent along each measured ray, which says nothing of other rays.
        """
        return self.noise.of_a_view() if self.noise_stated else self.noise.typical()


def geometry_attributes(geometry: ScanGeometry) -> dict[str, str | float]:
    """What files say of a geometry besides its angles, detector pixels and grid; lengths in mm."""
    attributes: dict[str, str | float] = {"type": "parallel", "pitch_mm": geometry.pitch_mm}
    if not isinstance(geometry, ParallelBeam):
        attributes["type"] = "fan" if isinstance(geometry, FanBeam) else "cone"
        attributes["source_origin_mm"] = geometry.source_origin_mm
        attributes["origin_detector_mm"] = geometry.origin_detector_mm
    if geometry.cor_index is not None:
        attributes["cor_index"] = geometry.cor_index
    if isinstance(geometry, ConeBeam):
        for name in ("row_pitch_mm", "mid_row_index"):
            value = getattr(geometry, name)
            if value is not None:
                attributes[name] = value
    return attributes


def cone_from(
    attributes: Mapping[str, Any], *, angles_deg: Any, n_rows: int, n_detectors: int, grid: VolumeGrid
) -> ConeBeam:
    """The cone beam that `geometry_attributes` described; arguments and errors as of `geometry_from`."""

    def optional(name: str) -> float | None:
        return float(attributes[name]) if name in attributes else None

    return ConeBeam(
        grid=grid,
        angles_rad=np.radians(np.asarray(angles_deg, dtype=np.float64)),
        n_rows=n_rows,
        n_detectors=n_detectors,
        pitch_mm=float(attributes["pitch_mm"]),
        source_origin_mm=float(attributes["source_origin_mm"]),
        origin_detector_mm=float(attributes["origin_detector_mm"]),
        cor_index=optional("cor_index"),
        row_pitch_mm=optional("row_pitch_mm"),
        mid_row_index=optional("mid_row_index"),
    )


def geometry_from(attributes: Mapping[str, Any], *, angles_deg: Any, n_detectors: int, grid: ImageGrid) -> Geometry:
    """The geometry that `geometry_attributes` described.

    Args:
        attributes: as they came out of a file.
        angles_deg: of the views.
        n_detectors: detector pixels.
        grid: the image.

    Raises:
        KeyError: an attribute is missing.
        ValueError: values that make no scan.
    """
    angles_rad = np.radians(np.asarray(angles_deg, dtype=np.float64))
    pitch_mm = float(attributes["pitch_mm"])
    cor_index = float(attributes["cor_index"]) if "cor_index" in attributes else None
    if attributes["type"] != "fan":
        return ParallelBeam(
            grid=grid, angles_rad=angles_rad, n_detectors=n_detectors, pitch_mm=pitch_mm, cor_index=cor_index
        )
    return FanBeam(
        grid=grid,
        angles_rad=angles_rad,
        n_detectors=n_detectors,
        pitch_mm=pitch_mm,
        source_origin_mm=float(attributes["source_origin_mm"]),
        origin_detector_mm=float(attributes["origin_detector_mm"]),
        cor_index=cor_index,
    )


def degrees_of(angles_rad: AngleInput) -> NDArray[np.float64]:
    """Angles for a file: those that came in as degrees go out as the same degrees, not 1e-14 beside them."""
    degrees: NDArray[np.float64] = np.degrees(np.asarray(angles_rad, dtype=np.float64))
    return np.round(degrees, 12)


def shown_degrees(angle_rad: float) -> float:
    """An angle for people and their scripts, to a millionth of a degree."""
    return round(math.degrees(angle_rad), 6)
