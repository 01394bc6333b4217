"""What a file says about its scan: known before any projection is read, with every problem at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.filesize import decimal

from ctuq.available_memory import available_memory
from ctuq.beam import Beam
from ctuq.errors import InputError
from ctuq.frames import Frames
from ctuq.rays import cone_from, geometry_from
from ctuq.remarks import Remarks
from ctuq.scan import ScanGeometry
from ctuq.view_angles import ViewAngles, check_count
from operators import ConeBeam, Geometry, ImageGrid, VolumeGrid

_COPIES_OF_A_ROW = 32  # bytes a ray while it is read, corrected and kept


@dataclass(frozen=True, eq=False)
class ScanParts:
    """The parts of a scan as a layout's reader found them; None or empty where one is missing or unreadable.

    Args:
        layout: what kind of file it is.
        why: it was taken for that.
        entries: scans in the file, of which this is one; empty where the layout has no such thing.
        name: title of the scan; empty where the file has none.
        source: where the data come from, as the file says.
        licence: under which terms, as the file says.
        data: the projections.
        units: "line_integral" or "counts".
        units_why: what the units were guessed from; empty where the file says them.
        angles: of the views.
        flats: frames of the open beam; line integrals have none.
        darks: frames without beam; likewise.
        noise_variance: of line integrals, one number or as the projections.
        beam: where source, axis and detector are.
    """

    layout: str
    why: str
    entries: tuple[str, ...] = ()
    name: str = ""
    source: str = ""
    licence: str = ""
    data: Frames | None = None
    units: str | None = None
    units_why: str = ""
    angles: ViewAngles = field(default_factory=ViewAngles)
    flats: Frames | None = None
    darks: Frames | None = None
    noise_variance: Frames | float | None = None
    beam: Beam = field(default_factory=Beam)


@dataclass(frozen=True)
class ScanHeader:
    """What was found in a file; a field whose part of the file is missing or unreadable is None or empty.

    Args:
        path: the file.
        layout: "NXtomo", "Data Exchange", "ctuq sinogram file", "TIFF stack" or "HDF5".
        why: it was taken for that.
        entries: scans that the file holds, of which this is one; empty where the layout has no such thing.
        name: its title, or the file's name without ending.
        source: where the data come from, as the file says.
        licence: under which terms, as the file says.
        shape: (theta, row, detector) of the data.
        rows_together: rows that are stored together; blocks of them start at its multiples.
        units: "line_integral" or "counts".
        units_why: what the units were guessed from; empty where the file says them.
        theta_deg: view angles in degrees.
        angles_from: where they are from.
        n_flats: frames of the open beam.
        n_darks: frames without beam.
        beam: where source, axis and detector are.
        has_noise_variance: whether the file states its noise.
        files: that it is read from, this one among them, and folders whose list of files matters; absolute, sorted.
        notes: what was guessed or left out, and why.
        problems: what keeps ctuq from reconstructing it, each with what was expected, what came, what to try.
    """

    path: Path
    layout: str
    why: str
    entries: tuple[str, ...]
    name: str
    source: str
    licence: str
    shape: tuple[int, ...]
    rows_together: int
    units: str | None
    units_why: str
    theta_deg: tuple[float, ...]
    angles_from: str
    n_flats: int
    n_darks: int
    beam: Beam
    has_noise_variance: bool
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_volume(self) -> bool:
        """Whether all rows are one scan, of a cone beam's volume."""
        return self.beam.kind == "cone"

    def geometry(self, size: int | None = None, pixel_mm: float | None = None) -> ScanGeometry:
        """The rays, on a square grid; of a cone beam on a cube.

        Args:
            size: pixels a side; None: as many as detectors.
            pixel_mm: side of a pixel; None: the grid covers the field of view at the rotation axis.

        Raises:
            InputError: distances, sizes or angles that make no scan, such as a source inside the object.
        """
        try:
            if self.is_volume:
                return self._cone(size, pixel_mm)
            # The field of view belongs to the rays; a speck of a grid gets hold of it before there is a real one.
            rays = self._rays(ImageGrid(shape=(1, 1), pixel_mm=1e-9))
            pixels = rays.n_detectors if size is None else size
            side = rays.field_of_view_mm / max(pixels, 1) if pixel_mm is None else pixel_mm
            return rays.with_grid(ImageGrid(shape=(pixels, pixels), pixel_mm=side))
        except ValueError as error:
            raise InputError(f"the geometry makes no scan: {error}") from error

    def _cone(self, size: int | None, pixel_mm: float | None) -> ConeBeam:
        rays = self._cone_rays(VolumeGrid(shape=(1, 1, 1), pixel_mm=1e-9))
        voxels = rays.n_detectors if size is None else size
        side = rays.field_of_view_mm / max(voxels, 1) if pixel_mm is None else pixel_mm
        slices = max(1, round(rays.field_height_mm / side))
        return rays.with_grid(
            VolumeGrid(shape=(slices, voxels, voxels), pixel_mm=side, centre_z_mm=rays.field_centre_z_mm)
        )

    def _cone_rays(self, grid: VolumeGrid) -> ConeBeam:
        _, n_rows, n_detectors = self.shape
        try:
            return cone_from(self._said(), angles_deg=self.theta_deg, n_rows=n_rows, n_detectors=n_detectors, grid=grid)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is not known") from error

    def _said(self) -> dict[str, str | float]:
        """What the file says of the beam, by the names that files use."""
        said = {"type" if name == "kind" else name: value for name, value in vars(self.beam).items()}
        return {name: value for name, value in said.items() if value is not None}

    def _rays(self, grid: ImageGrid) -> Geometry:
        try:
            return geometry_from(self._said(), angles_deg=self.theta_deg, n_detectors=self.shape[2], grid=grid)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{error.args[0]} is not known") from error


def header_of(path: Path, parts: ScanParts, remarks: Remarks) -> ScanHeader:
    """Check the parts against each other, and say what was found."""
    shape = () if parts.data is None else parts.data.shape
    if parts.data is not None:
        check_count(parts.angles, parts.data.name, parts.data.shape, remarks)
        _check_units(parts, parts.data.name, remarks)
        _check_row(parts.data.shape, remarks)
    cor_index = parts.beam.cor_index
    if cor_index is not None and shape and not -0.5 <= cor_index <= shape[2] - 0.5:
        remarks.problems.append(
            f"expected cor_index on the detector, from 0 to {shape[2] - 1}, got {cor_index:g}: it counts "
            f"pixels as stored, not mm and not pixels before binning"
        )
    header = ScanHeader(
        path=path,
        layout=parts.layout,
        why=parts.why,
        entries=parts.entries,
        name=parts.name or path.stem,
        source=parts.source,
        licence=parts.licence,
        shape=shape,
        rows_together=1 if parts.data is None else parts.data.rows_together,
        units=parts.units,
        units_why=parts.units_why,
        theta_deg=parts.angles.degrees,
        angles_from=parts.angles.origin,
        n_flats=0 if parts.flats is None else parts.flats.shape[0],
        n_darks=0 if parts.darks is None else parts.darks.shape[0],
        beam=parts.beam,
        has_noise_variance=parts.noise_variance is not None,
        files=tuple(sorted({file.resolve() for file in (path, *remarks.files)})),
        notes=(),
        problems=(),
    )
    if not remarks.problems:  # only whole parts make a geometry that is worth judging
        try:
            header.geometry()
        except InputError as error:
            remarks.problems.append(str(error))
    return replace(header, notes=tuple(remarks.notes), problems=tuple(remarks.problems))


def _check_units(parts: ScanParts, name: str, remarks: Remarks) -> None:
    said = "the key units of the TOML file" if parts.layout == "TIFF stack" else f"the attribute units on {name}"
    if parts.units not in ("line_integral", "counts"):
        remarks.problems.append(
            f"expected 'line_integral' or 'counts' as {said}, got {parts.units or 'none'!r}: set 'line_integral' once"
            f" you know that the values are -log(intensity / open beam), or add flats to counts"
        )
    elif parts.units == "counts" and (parts.flats is None or not parts.flats.shape[0]):
        remarks.problems.append(
            f"expected frames of the open beam with the counts in {name}, got no flats: name them with --flats, or "
            f"write -log((data - dark) / (flat - dark)) with 'line_integral' as {said}"
        )
    elif parts.units == "counts" and (parts.darks is None or not parts.darks.shape[0]):
        remarks.notes.append("no darks in the file: taken as zero")


def _check_row(shape: tuple[int, int, int], remarks: Remarks) -> None:
    needed, available = shape[0] * shape[2] * _COPIES_OF_A_ROW, available_memory()
    if needed > available:
        remarks.problems.append(
            f"expected a detector row that fits into the {decimal(available)} of free memory, got {shape[0]:,} "
            f"views of {shape[2]:,} pixels, which take {decimal(needed)}: is that shape right?"
        )
