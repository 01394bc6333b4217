"""What a sinogram file says about itself: read from its headers and its angles alone, every problem found at once."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ctuq import sinogram_checks as checks
from ctuq.errors import InputError
from ctuq.hdf5 import damage_named, opened, text_of
from operators import FanBeam, ImageGrid, ParallelBeam


@dataclass(frozen=True)
class SinogramHeader:
    """What was found in a file; a field whose part of the file is missing or unreadable is None or empty.

    Args:
        path: the file.
        name: its title, or the file's name without ending.
        source: where the data come from, as the file says.
        licence: under which terms, as the file says.
        shape: (theta, row, detector) of the data.
        units: "line_integral" or "counts".
        theta_deg: view angles in degrees.
        kind: "parallel" or "fan".
        pitch_mm: distance of detector pixels.
        source_origin_mm: source to rotation axis, fan beam only.
        origin_detector_mm: rotation axis to detector, fan beam only.
        cor_index: detector index of the rotation axis; None: the centre.
        has_noise_variance: whether the file states its noise.
        problems: what keeps ctuq from reconstructing it, each with what was expected, what came, what to try.
    """

    path: Path
    name: str
    source: str
    licence: str
    shape: tuple[int, ...]
    units: str | None
    theta_deg: tuple[float, ...]
    kind: str | None
    pitch_mm: float | None
    source_origin_mm: float | None
    origin_detector_mm: float | None
    cor_index: float | None
    has_noise_variance: bool
    problems: tuple[str, ...]

    def geometry(self, size: int | None = None, pixel_mm: float | None = None) -> ParallelBeam | FanBeam:
        """The rays, on a square grid.

        Args:
            size: pixels a side; None: as many as detectors.
            pixel_mm: side of a pixel; None: the grid covers the field of view at the rotation axis.

        Raises:
            InputError: distances, sizes or angles that make no scan, such as a source inside the object.
        """
        try:
            # The field of view belongs to the rays; a speck of a grid gets hold of it before there is a real one.
            rays = self._rays(ImageGrid(shape=(1, 1), pixel_mm=1e-9))
            pixels = rays.n_detectors if size is None else size
            side = rays.field_of_view_mm / max(pixels, 1) if pixel_mm is None else pixel_mm
            return rays.with_grid(ImageGrid(shape=(pixels, pixels), pixel_mm=side))
        except ValueError as error:
            raise InputError(f"the geometry makes no scan: {error}") from error

    def _rays(self, grid: ImageGrid) -> ParallelBeam | FanBeam:
        if self.pitch_mm is None or len(self.shape) != 3:
            raise ValueError("detector pitch and data shape are not known")
        angles_rad = np.radians(np.asarray(self.theta_deg))
        if self.kind != "fan":
            return ParallelBeam(
                grid=grid,
                angles_rad=angles_rad,
                n_detectors=self.shape[2],
                pitch_mm=self.pitch_mm,
                cor_index=self.cor_index,
            )
        if self.source_origin_mm is None or self.origin_detector_mm is None:
            raise ValueError("source and detector distances are not known")
        return FanBeam(
            grid=grid,
            angles_rad=angles_rad,
            n_detectors=self.shape[2],
            pitch_mm=self.pitch_mm,
            source_origin_mm=self.source_origin_mm,
            origin_detector_mm=self.origin_detector_mm,
            cor_index=self.cor_index,
        )


def inspect(path: str | Path) -> SinogramHeader:
    """Read what the file says about itself: no projection data, whatever its size.

    Raises:
        InputError: there is no such file, or it is not a whole HDF5 file. What is wrong inside it is in `.problems`.
    """
    path = Path(path)
    with opened(path) as file, damage_named(path):
        return read_header(path, file)


def find_problems(path: str | Path) -> list[str]:
    """What keeps ctuq from reconstructing the file, found in its headers and angles; empty when all is well."""
    try:
        return list(inspect(path).problems)
    except InputError as error:
        return [str(error)]


def read_header(path: Path, file: Any) -> SinogramHeader:
    """`inspect` for a file that is open."""
    problems: list[str] = []
    data = checks.projections(file, problems)
    shape = checks.shape(data, problems)
    theta_deg = checks.theta(file, shape, problems)
    units = checks.units(data, problems)
    found = checks.geometry(file, shape, problems)
    header = SinogramHeader(
        path=path,
        name=text_of(file.attrs.get("title")) or path.stem,
        source=text_of(file.attrs.get("source")),
        licence=text_of(file.attrs.get("licence")),
        shape=shape,
        units=units,
        theta_deg=theta_deg,
        kind=found.kind,
        pitch_mm=found.pitch_mm,
        source_origin_mm=found.source_origin_mm,
        origin_detector_mm=found.origin_detector_mm,
        cor_index=found.cor_index,
        has_noise_variance=checks.has_noise_variance(file, shape, problems),
        problems=(),
    )
    if not problems:  # only whole parts make a geometry that is worth judging
        try:
            header.geometry()
        except InputError as error:
            problems.append(str(error))
    return replace(header, problems=tuple(problems))
