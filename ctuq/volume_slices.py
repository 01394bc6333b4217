"""What a page shows of a volume: slices through its middle, one across the rotation axis and two along it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ctuq.reconstruction import Reconstruction
from operators import VolumeGrid


@dataclass(frozen=True)
class Slice:
    """One plane through a volume.

    Args:
        axis: it is square to: z, y or x.
        place_mm: where on that axis.
        image: (up, right), 1/mm.
        std: likewise.
        extent_mm: left, right, bottom, top.
        labels: of the axes to the right and up.
    """

    axis: str
    place_mm: float
    image: NDArray[Any]
    std: NDArray[Any]
    extent_mm: tuple[float, float, float, float]
    labels: tuple[str, str]


def middle_slice(reconstruction: Reconstruction) -> Reconstruction:
    """The middle slice across the rotation axis, as if it were all; without the rays, which are the volume's.

    A reconstruction of a slice is returned as it is.
    """
    if not isinstance(reconstruction.grid, VolumeGrid):
        return reconstruction
    middle = reconstruction.grid.shape[0] // 2
    return replace(
        reconstruction,
        grid=reconstruction.plane,
        image=reconstruction.image[middle],
        std=reconstruction.std[middle],
        standard_error=reconstruction.standard_error[middle],
        samples=reconstruction.samples[:, middle],
        rays=None,
        posterior=None,
    )


def middle_z_mm(grid: VolumeGrid) -> float:
    """Where the middle slice lies on the rotation axis."""
    return float(grid.z_mm()[grid.shape[0] // 2])


def orthogonal_slices(reconstruction: Reconstruction, grid: VolumeGrid) -> tuple[Slice, Slice, Slice]:
    """Through the middle: across the rotation axis (z), and along it, square to y and to x; z runs upwards."""
    image, std = (values.cpu().numpy() for values in (reconstruction.image, reconstruction.std))
    slices, rows, cols = (n // 2 for n in grid.shape)
    depth, height, width = grid.extent_mm
    bottom, top = grid.centre_z_mm - depth / 2, grid.centre_z_mm + depth / 2
    sides = (-width / 2, width / 2)
    ends = (-height / 2, height / 2)
    plane = grid.plane
    return (
        Slice("z", middle_z_mm(grid), image[slices], std[slices], (*sides, *ends), ("x", "y")),
        Slice("y", float(plane.y_mm()[rows]), image[::-1, rows], std[::-1, rows], (*sides, bottom, top), ("x", "z")),
        Slice(
            "x",
            float(plane.x_mm()[cols]),
            image[::-1, ::-1, cols],
            std[::-1, ::-1, cols],
            (*ends, bottom, top),
            ("y", "z"),
        ),
    )
