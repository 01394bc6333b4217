"""Where voxels and rays of a volume are: stacks of slices, and cone beams on a flat detector.

Volumes are (slice, row, col), projections (angle, detector row, detector column). z runs along the rotation axis and
grows with the slice and with the detector row; within a slice everything is as in `operators.geometry`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor

from operators.geometry import AngleInput, FanBeam, Geometry, ImageGrid, IndexInput


@dataclass(frozen=True, kw_only=True)
class VolumeGrid:
    """Slices of square pixels, stacked along the rotation axis and centred on it.

    Args:
        shape: (slices, rows, cols).
        pixel_mm: side of a pixel.
        slice_mm: distance of slices; None for cubes.
        centre_z_mm: where the stack's middle is along the axis; a cone beam's source is at 0.

    Raises:
        ValueError: a side without voxels, sizes that are not positive and finite, or a centre that is not finite.
    """

    shape: tuple[int, int, int]
    pixel_mm: float = 1.0
    slice_mm: float | None = None
    centre_z_mm: float = 0.0

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (slices, rows, cols) with at least one voxel a side, got {self.shape}")
        object.__setattr__(self, "shape", shape)
        for name, size in (("pixel_mm", self.pixel_mm), ("slice_mm", self.thickness_mm)):
            if not (math.isfinite(size) and size > 0):
                raise ValueError(f"{name} must be positive and finite, got {size}")
        if not math.isfinite(self.centre_z_mm):
            raise ValueError(f"centre_z_mm must be finite, got {self.centre_z_mm}")

    @property
    def plane(self) -> ImageGrid:
        """The grid of one slice."""
        return ImageGrid(shape=self.shape[1:], pixel_mm=self.pixel_mm)

    @property
    def thickness_mm(self) -> float:
        """Distance of slices: `slice_mm`, or the pixel's side where that is None."""
        return self.pixel_mm if self.slice_mm is None else self.slice_mm

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """(depth, height, width) in mm, along z, y and x."""
        return self.shape[0] * self.thickness_mm, *self.plane.extent_mm

    def z_mm(self) -> Tensor:
        """(slices,) float64: z of the slices' middles, growing."""
        slices = self.shape[0]
        return (torch.arange(slices, dtype=torch.float64) - (slices - 1) / 2) * self.thickness_mm + self.centre_z_mm


@dataclass(frozen=True, kw_only=True)
class SliceStack:
    """Slices that share one parallel- or fan-beam scan: detector row i sees slice i and no other.

    Args:
        scan: of one slice.
        n_slices: how many.
        slice_mm: distance of slices; None for cubes.

    Raises:
        ValueError: no slices, or a distance that is not positive.
    """

    scan: Geometry
    n_slices: int
    slice_mm: float | None = None

    def __post_init__(self) -> None:
        if self.n_slices < 1:
            raise ValueError(f"n_slices must be at least 1, got {self.n_slices}")
        _ = self.grid

    @property
    def grid(self) -> VolumeGrid:
        """The volume."""
        plane = self.scan.grid
        return VolumeGrid(shape=(self.n_slices, *plane.shape), pixel_mm=plane.pixel_mm, slice_mm=self.slice_mm)

    @property
    def angles_rad(self) -> tuple[float, ...]:
        """View angles."""
        return self.scan.angles_rad

    @property
    def n_angles(self) -> int:
        """Number of views."""
        return self.scan.n_angles

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """(angle, slice, detector)."""
        return self.scan.n_angles, self.n_slices, self.scan.n_detectors

    def select(self, indices: IndexInput) -> Self:
        """The scan with only these views, in this order; a mask works as well. Raises as `view_indices` does."""
        return replace(self, scan=self.scan.select(indices))

    def with_grid(self, grid: VolumeGrid) -> Self:
        """The same views of another volume, with a detector row for each of its slices."""
        return replace(self, scan=self.scan.with_grid(grid.plane), n_slices=grid.shape[0], slice_mm=grid.slice_mm)


@dataclass(frozen=True, kw_only=True, init=False)
class ConeBeam:
    """A point source at source_origin_mm * (sin a, -cos a, 0) and a flat detector opposite, square to the central ray.

    Args:
        grid: the volume.
        angles_rad: view angles; any sequence, array or 1D tensor.
        n_rows: detector rows, along z.
        n_detectors: detector columns, along (cos a, sin a, 0).
        pitch_mm: distance of detector columns, on the detector.
        source_origin_mm: source to rotation axis.
        origin_detector_mm: rotation axis to detector; 0 for a virtual detector on the axis.
        cor_index: detector column of the rotation axis, pixel centres being integers; None for the centre.
        row_pitch_mm: distance of detector rows; None for square pixels.
        mid_row_index: detector row level with the source, z = 0, pixel centres being integers; None for the centre.

    Raises:
        ValueError: as for `FanBeam`; no rows, a row pitch that is not positive, or a row that is not finite.
    """

    grid: VolumeGrid
    angles_rad: tuple[float, ...]
    n_rows: int
    n_detectors: int
    pitch_mm: float
    source_origin_mm: float
    origin_detector_mm: float
    cor_index: float | None
    row_pitch_mm: float | None
    mid_row_index: float | None

    # Written out because it takes more kinds of angles than the field holds.
    def __init__(  # noqa: PLR0913 (a scan has so many lengths)
        self,
        *,
        grid: VolumeGrid,
        angles_rad: AngleInput,
        n_rows: int,
        n_detectors: int,
        pitch_mm: float,
        source_origin_mm: float,
        origin_detector_mm: float,
        cor_index: float | None = None,
        row_pitch_mm: float | None = None,
        mid_row_index: float | None = None,
    ) -> None:
        fan = FanBeam(
            grid=grid.plane,
            angles_rad=angles_rad,
            n_detectors=n_detectors,
            pitch_mm=pitch_mm,
            source_origin_mm=source_origin_mm,
            origin_detector_mm=origin_detector_mm,
            cor_index=cor_index,
        )
        if n_rows < 1:
            raise ValueError(f"n_rows must be at least 1, got {n_rows}")
        if row_pitch_mm is not None and not (math.isfinite(row_pitch_mm) and row_pitch_mm > 0):
            raise ValueError(f"row_pitch_mm must be positive and finite or None for square pixels, got {row_pitch_mm}")
        if mid_row_index is not None and not math.isfinite(mid_row_index):
            raise ValueError(f"mid_row_index must be a finite detector row or None for the centre, got {mid_row_index}")
        checked = ("angles_rad", "n_detectors", "pitch_mm", "source_origin_mm", "origin_detector_mm", "cor_index")
        for name in checked:
            object.__setattr__(self, name, getattr(fan, name))
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "n_rows", int(n_rows))
        object.__setattr__(self, "row_pitch_mm", None if row_pitch_mm is None else float(row_pitch_mm))
        object.__setattr__(self, "mid_row_index", None if mid_row_index is None else float(mid_row_index))

    @property
    def fan(self) -> FanBeam:
        """The mid-plane's scan: what detector row `level_index` sees of the plane z = 0."""
        return FanBeam(
            grid=self.grid.plane,
            angles_rad=self.angles_rad,
            n_detectors=self.n_detectors,
            pitch_mm=self.pitch_mm,
            source_origin_mm=self.source_origin_mm,
            origin_detector_mm=self.origin_detector_mm,
            cor_index=self.cor_index,
        )

    @property
    def n_angles(self) -> int:
        """Number of views."""
        return len(self.angles_rad)

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """(angle, row, detector)."""
        return self.n_angles, self.n_rows, self.n_detectors

    @property
    def source_detector_mm(self) -> float:
        """Source to detector."""
        return self.source_origin_mm + self.origin_detector_mm

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the rotation axis."""
        return self.fan.magnification

    @property
    def field_of_view_mm(self) -> float:
        """Width of the detector scaled down to the rotation axis, in mm. An offset axis does not change it."""
        return self.fan.field_of_view_mm

    @property
    def field_height_mm(self) -> float:
        """Height of the detector scaled down to the rotation axis, in mm."""
        return self.n_rows * self.row_spacing_mm / self.magnification

    @property
    def field_centre_z_mm(self) -> float:
        """Where on the rotation axis the middle of the detector's height projects, in mm."""
        return float(self.row_positions().mean()) / self.magnification

    @property
    def row_spacing_mm(self) -> float:
        """Distance of detector rows: `row_pitch_mm`, or that of the columns where that is None."""
        return self.pitch_mm if self.row_pitch_mm is None else self.row_pitch_mm

    @property
    def level_index(self) -> float:
        """Detector row level with the source: `mid_row_index`, or the centre where that is None."""
        return (self.n_rows - 1) / 2 if self.mid_row_index is None else self.mid_row_index

    def row_positions(self) -> Tensor:
        """(row,) float64: z in mm of the detector rows' centres, on the detector."""
        return (torch.arange(self.n_rows, dtype=torch.float64) - self.level_index) * self.row_spacing_mm

    def ray_slopes(self) -> Tensor:
        """(row, detector) float64: length of each ray over that of its shadow in the mid-plane."""
        across = torch.hypot(self.fan.detector_positions(), torch.tensor(self.source_detector_mm, dtype=torch.float64))
        return torch.hypot(self.row_positions()[:, None], across) / across

    def select(self, indices: IndexInput) -> Self:
        """The scan with only these views, in this order; a mask works as well. Raises as `view_indices` does."""
        return replace(self, angles_rad=self.fan.select(indices).angles_rad)

    def with_grid(self, grid: VolumeGrid) -> Self:
        """The same scan of another volume."""
        return replace(self, grid=grid)

    def binned(self, factor: int) -> Self:
        """The scan of a detector whose squares of factor · factor pixels are averaged; remainders are dropped.

        Raises:
            ValueError: the factor is below 1 or leaves no detector.
        """
        if not 1 <= factor <= self.n_rows:
            raise ValueError(f"factor must lie between 1 and the {self.n_rows} detector rows, got {factor}")
        fan = self.fan.binned(factor)
        keeps_middle = self.mid_row_index is None and self.n_rows % factor == 0
        return replace(
            self,
            n_rows=self.n_rows // factor,
            n_detectors=fan.n_detectors,
            pitch_mm=fan.pitch_mm,
            cor_index=fan.cor_index,
            row_pitch_mm=None if self.row_pitch_mm is None else self.row_pitch_mm * factor,
            mid_row_index=None if keeps_middle else (self.level_index - (factor - 1) / 2) / factor,
        )


VolumeScan: TypeAlias = SliceStack | ConeBeam
"""Rays of a volume: projections are (angle, row, detector)."""
