"""Where the pixels, the rays and the rotation axis are. Lengths in mm, angles in radians.

Image row 0 is at the top (largest y), column 0 at the left (smallest x); the rotation axis is the grid's centre.
At angle a detector pixels run along (cos a, sin a) and rays travel along (-sin a, cos a), the sense of ASTRA's
`parallel` and `fanflat` geometries and of the transposed sinograms of `skimage.transform.radon`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AngleInput: TypeAlias = Sequence[float] | NDArray[np.floating] | Tensor
IndexInput: TypeAlias = Sequence[int] | NDArray[np.integer] | NDArray[np.bool_] | Tensor


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """Square pixels centred on the rotation axis.

    Args:
        shape: (rows, cols).
        pixel_mm: side of a pixel.

    Raises:
        ValueError: a side without pixels, or a pixel size that is not positive and finite.
    """

    shape: tuple[int, int]
    pixel_mm: float = 1.0

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"shape must be (rows, cols) with at least one pixel a side, got {self.shape}")
        object.__setattr__(self, "shape", shape)
        _require_positive(self, "pixel_mm")

    @property
    def extent_mm(self) -> tuple[float, float]:
        """(height, width) of the grid in mm."""
        return self.shape[0] * self.pixel_mm, self.shape[1] * self.pixel_mm

    def x_mm(self) -> Tensor:
        """(cols,) float64: x of the pixel centres, growing to the right."""
        cols = self.shape[1]
        return (torch.arange(cols, dtype=torch.float64) - (cols - 1) / 2) * self.pixel_mm

    def y_mm(self) -> Tensor:
        """(rows,) float64: y of the pixel centres, growing upwards, so falling with the row index."""
        rows = self.shape[0]
        return ((rows - 1) / 2 - torch.arange(rows, dtype=torch.float64)) * self.pixel_mm


@dataclass(frozen=True, kw_only=True, init=False)
class _FlatDetectorScan:
    """What parallel and fan-beam scans share: views of one grid on a flat row of equal detector pixels."""

    # The constructors are written out because they take more kinds of angles than the field holds.
    grid: ImageGrid
    angles_rad: tuple[float, ...]
    n_detectors: int
    pitch_mm: float
    cor_index: float | None

    def _store(
        self, grid: ImageGrid, angles_rad: AngleInput, n_detectors: int, pitch_mm: float, cor_index: float | None
    ) -> None:
        if n_detectors < 1:
            raise ValueError(f"n_detectors must be at least 1, got {n_detectors}")
        if cor_index is not None and not math.isfinite(cor_index):
            raise ValueError(f"cor_index must be a finite detector index or None for the centre, got {cor_index}")
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "angles_rad", _angle_tuple(angles_rad))
        object.__setattr__(self, "n_detectors", int(n_detectors))
        object.__setattr__(self, "pitch_mm", float(pitch_mm))
        object.__setattr__(self, "cor_index", None if cor_index is None else float(cor_index))
        _require_positive(self, "pitch_mm")

    @property
    def n_angles(self) -> int:
        """Number of views."""
        return len(self.angles_rad)

    @property
    def sinogram_shape(self) -> tuple[int, int]:
        """(angle, detector)."""
        return self.n_angles, self.n_detectors

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the rotation axis."""
        return 1.0

    @property
    def axis_index(self) -> float:
        """Detector index onto which the rotation axis projects: `cor_index`, or the centre where that is None."""
        return (self.n_detectors - 1) / 2 if self.cor_index is None else self.cor_index

    @property
    def axis_offset(self) -> float:
        """Detector pixels from the axis' projection to the detector's centre, f = (D - 1)/2 - cor_index."""
        return (self.n_detectors - 1) / 2 - self.axis_index

    @property
    def field_of_view_mm(self) -> float:
        """Width of the detector scaled down to the rotation axis, in mm. An offset axis does not change it."""
        return self.n_detectors * self.pitch_mm / self.magnification

    def detector_positions(self) -> Tensor:
        """(detector,) float64: mm along the detector from the axis' projection to the pixel centres."""
        return (torch.arange(self.n_detectors, dtype=torch.float64) - self.axis_index) * self.pitch_mm

    def select(self, indices: IndexInput) -> Self:
        """The scan with only these views, in this order; a mask works as well. Raises as `view_indices` does."""
        return replace(self, angles_rad=tuple(self.angles_rad[i] for i in view_indices(indices, self.n_angles)))

    def with_grid(self, grid: ImageGrid) -> Self:
        """The same scan on another image grid."""
        return replace(self, grid=grid)

    def binned(self, factor: int) -> Self:
        """The scan with `factor` neighbouring detector pixels joined, from pixel 0 on.

        The remainder at the far end is dropped, as in `sinogram[..., : n * factor]` with n = n_detectors // factor;
        new pixel j is centred on old index j * factor + (factor - 1)/2, so the axis maps exactly to
        (cor_index - (factor - 1)/2) / factor.

        Raises:
            ValueError: the factor is below 1 or leaves no detector.
        """
        if not 1 <= factor <= self.n_detectors:
            raise ValueError(f"factor must lie between 1 and the {self.n_detectors} detectors, got {factor}")
        keeps_centre = self.cor_index is None and self.n_detectors % factor == 0
        cor_index = None if keeps_centre else (self.axis_index - (factor - 1) / 2) / factor
        return replace(
            self, n_detectors=self.n_detectors // factor, pitch_mm=self.pitch_mm * factor, cor_index=cor_index
        )


@dataclass(frozen=True, kw_only=True, init=False)
class ParallelBeam(_FlatDetectorScan):
    """Parallel rays: detector pixel i of the view at angle a sees x cos a + y sin a = (i - cor_index) * pitch_mm.

    Args:
        grid: the image.
        angles_rad: view angles; any sequence, array or 1D tensor.
        n_detectors: detector pixels.
        pitch_mm: distance of detector pixels.
        cor_index: detector index of the rotation axis, pixel centres being integers; None for the centre.

    Raises:
        ValueError: no or non-finite angles, no detectors, or a pitch that is not positive.
    """

    def __init__(
        self,
        *,
        grid: ImageGrid,
        angles_rad: AngleInput,
        n_detectors: int,
        pitch_mm: float = 1.0,
        cor_index: float | None = None,
    ) -> None:
        self._store(grid, angles_rad, n_detectors, pitch_mm, cor_index)


@dataclass(frozen=True, kw_only=True, init=False)
class FanBeam(_FlatDetectorScan):
    """A point source at source_origin_mm * (sin a, -cos a) and a flat detector opposite, square to the central ray.

    Args:
        grid: the image.
        angles_rad: view angles; any sequence, array or 1D tensor.
        n_detectors: detector pixels.
        pitch_mm: distance of detector pixels, on the detector.
        source_origin_mm: source to rotation axis.
        origin_detector_mm: rotation axis to detector; 0 for a virtual detector on the axis.
        cor_index: detector index of the rotation axis, pixel centres being integers; None for the centre.

    Raises:
        ValueError: as for `ParallelBeam`; a distance out of range; the source touches the image grid in some view.
    """

    source_origin_mm: float
    origin_detector_mm: float

    def __init__(
        self,
        *,
        grid: ImageGrid,
        angles_rad: AngleInput,
        n_detectors: int,
        pitch_mm: float,
        source_origin_mm: float,
        origin_detector_mm: float,
        cor_index: float | None = None,
    ) -> None:
        self._store(grid, angles_rad, n_detectors, pitch_mm, cor_index)
        object.__setattr__(self, "source_origin_mm", float(source_origin_mm))
        object.__setattr__(self, "origin_detector_mm", float(origin_detector_mm))
        _require_positive(self, "source_origin_mm")
        if not (math.isfinite(self.origin_detector_mm) and self.origin_detector_mm >= 0):
            raise ValueError(
                f"origin_detector_mm must be finite and not negative (0: a virtual detector on the axis), "
                f"got {self.origin_detector_mm}"
            )
        self._require_source_outside_grid()

    def _require_source_outside_grid(self) -> None:
        height, width = self.grid.extent_mm
        angles = np.asarray(self.angles_rad)
        # The circle around the grid would be the stricter test, but corners outside the field of view may well
        # reach further than the source does in scans of high magnification.
        inside = (np.abs(np.sin(angles)) * self.source_origin_mm <= width / 2) & (
            np.abs(np.cos(angles)) * self.source_origin_mm <= height / 2
        )
        if inside.any():
            raise ValueError(
                f"the source must stay outside the image grid of {height:g} by {width:g} mm, but at angle "
                f"{angles[inside][0]:.4g} rad it lies inside (source_origin_mm = {self.source_origin_mm:g}): "
                f"check the units, or take a smaller grid"
            )

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the rotation axis."""
        return (self.source_origin_mm + self.origin_detector_mm) / self.source_origin_mm


Geometry: TypeAlias = ParallelBeam | FanBeam
"""Either kind of scan."""


def view_indices(indices: IndexInput, n_angles: int) -> list[int]:
    """The views that `indices` names: integers (negative ones count from the end) or a mask of n_angles booleans.

    Raises:
        ValueError: a mask of the wrong length, no view left, or not one-dimensional integers.
        IndexError: a view that does not exist.
    """
    chosen = np.asarray(indices.detach().cpu() if isinstance(indices, Tensor) else indices)
    if chosen.dtype == np.bool_ and chosen.shape != (n_angles,):
        raise ValueError(f"a mask of views must have shape ({n_angles},), got {chosen.shape}")
    if chosen.dtype == np.bool_:
        chosen = np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.size == 0 or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"indices must be at least one view as integers or a mask, got {indices!r}")
    if chosen.min() < -n_angles or chosen.max() >= n_angles:
        raise IndexError(f"views run from 0 to {n_angles - 1}, got indices from {chosen.min()} to {chosen.max()}")
    return [int(i) % n_angles for i in chosen]


def _angle_tuple(angles_rad: AngleInput) -> tuple[float, ...]:
    angles = angles_rad.detach().cpu() if isinstance(angles_rad, Tensor) else angles_rad
    values = np.asarray(angles, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"angles_rad must be a one-dimensional list of at least one angle, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"angles_rad must be finite, got {values[~np.isfinite(values)][0]}: drop those views")
    return tuple(values.tolist())


def _require_positive(owner: object, name: str) -> None:
    value = getattr(owner, name)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
