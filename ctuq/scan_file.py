"""Reading a scan from whatever file it is in: the layout is found, one detector row becomes a `Scan`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ctuq import data_exchange, named_datasets, nxtomo, tiff_stack
from ctuq.amount import amount
from ctuq.errors import InputError
from ctuq.hdf5 import damage_named, is_result, opened
from ctuq.masked_rays import MASKED_FROM
from ctuq.missing_counts import MOST_MISSING
from ctuq.processing_step import ProcessingStep
from ctuq.remarks import Remarks
from ctuq.scan import Scan
from ctuq.scan_header import ScanHeader, ScanParts, header_of
from ctuq.scan_source import CountRows, Rows, ScanSource
from ctuq.source_choice import SourceChoice
from ctuq.transmission import line_integrals

_HDF5_LAYOUTS: tuple[Callable[[Any, SourceChoice, Remarks], ScanParts | None], ...] = (
    nxtomo.find_parts,
    data_exchange.find_parts,
    named_datasets.find_parts,
)
_FOUND_AS_IT_IS = SourceChoice()
_Row: TypeAlias = tuple[Any, Any, tuple[ProcessingStep, ...]]


@contextmanager
def opened_scan(path: str | Path, choice: SourceChoice = _FOUND_AS_IT_IS) -> Iterator[ScanSource]:
    """The scan in a file, for reading rows of it.

    Args:
        path: HDF5 in one of the layouts that ctuq knows, or the TOML file of a TIFF stack.
        choice: what the file does not say, or says wrongly.

    Raises:
        InputError: there is no such file, it is none that can be opened, or a result. What is wrong inside it is in the
            header.
    """
    path, remarks = Path(path), Remarks()
    if path.suffix.lower() == ".toml":
        with damage_named(path):
            parts = tiff_stack.find_parts(path, choice, remarks)
            header = header_of(path, parts, remarks)
        yield ScanSource(header, parts)
        return
    with opened(path) as file:
        with damage_named(path):
            if choice == _FOUND_AS_IT_IS and is_result(file):
                raise InputError(
                    f"{path}: expected a scan, got a result of ctuq reconstruct: give the scan that it was made of. "
                    f"ctuq plan {path.name} says which views to measure next, ctuq report {path.name} shows it"
                )
            parts = next(found for find in _HDF5_LAYOUTS if (found := find(file, choice, remarks)) is not None)
            header = header_of(path, parts, remarks)
        yield ScanSource(header, parts)


def inspect(path: str | Path, choice: SourceChoice = _FOUND_AS_IT_IS) -> ScanHeader:
    """What the file says about its scan: no projection is read, whatever its size. Raises as `opened_scan`."""
    with opened_scan(path, choice) as source:
        return source.header


def read_scan(
    path: str | Path,
    *,
    row: int | None = None,
    size: int | None = None,
    pixel_mm: float | None = None,
    choice: SourceChoice = _FOUND_AS_IT_IS,
) -> Scan:
    """Read one detector row of a scan; the others stay on disk. Counts become line integrals with their noise.

    Of a cone beam all rows are read: they are one scan, of a volume.

    Args:
        path: HDF5 in one of the layouts that ctuq knows, or the TOML file of a TIFF stack.
        row: detector row, from 0; None: the middle one, or all of a cone beam.
        size: pixels a side of the square image grid, or of a cone beam's slices; None: as many as detectors.
        pixel_mm: side of a pixel; None: the grid covers the field of view at the rotation axis.
        choice: what the file does not say, or says wrongly.

    Raises:
        InputError: the file or the request is wrong; every problem of the file's headers is named at once.
    """
    with opened_scan(path, choice) as source:
        shape = source.header.shape
        if source.header.is_volume and not source.header.problems:
            _require_all_rows(source.header, row)
            return _volume_scan(source.header, source.rows(0, shape[1]), size, pixel_mm)
        index = (shape[1] if shape else 1) // 2 if row is None else row
        rows = source.rows(index, index + 1)
    return _scan(source.header, rows, index, 0, size, pixel_mm)


def read_scans(
    path: str | Path, rows: Sequence[int], *, choice: SourceChoice = _FOUND_AS_IT_IS
) -> Iterator[tuple[int, Scan | InputError]]:
    """The scan of each detector row, or why there is none. Neighbouring rows are read at once, and held in memory.

    Args:
        path: as in `read_scan`.
        rows: from 0, ascending.
        choice: likewise.

    Raises:
        InputError: as `opened_scan`.
    """
    with opened_scan(path, choice) as source:
        for row in rows if source.header.is_volume else ():
            _require_all_rows(source.header, row)
        for _, run in itertools.groupby(enumerate(rows), key=lambda pair: pair[1] - pair[0]):
            wanted = [row for _, row in run]
            block = _rows_or_none(source, wanted[0], wanted[-1] + 1)
            for row in wanted:
                try:
                    # Where a block cannot be read, single rows of it may be.
                    part, at = (source.rows(row, row + 1), 0) if block is None else (block, row - wanted[0])
                    scan: Scan | InputError = _scan(source.header, part, row, at, None, None)
                except InputError as error:
                    scan = error
                yield row, scan


def _require_all_rows(header: ScanHeader, row: int | None) -> None:
    if row is not None:
        raise InputError(
            f"{header.path}: expected no detector row for a cone beam, whose rows are one volume, got row {row}: "
            "leave out scan.row, --row and --rows: ctuq reconstruct takes all rows at once"
        )


def _volume_scan(header: ScanHeader, rows: Rows, size: int | None, pixel_mm: float | None) -> Scan:
    """All rows as one scan, each corrected by itself as a slice's is; a few that cannot be are masked."""
    notes = [ProcessingStep("reading", note) for note in header.notes]
    n_rows = header.shape[1]
    try:
        found, dead = _each_row(rows, n_rows)
        some = next(iter(found.values()))
        nothing = (np.zeros_like(some[0]), np.ones_like(some[0]), ())
        whole = [found.get(at, nothing) for at in range(n_rows)]
        values = np.stack([row[0] for row in whole], axis=1)
        variance = np.stack([row[1] for row in whole], axis=1) if isinstance(some[1], np.ndarray) else some[1]
        # What was done to one row is told by its number; nothing is said of the many that needed nothing.
        steps = [replace(step, text=f"row {at}: {step.text}") for at, row in found.items() for step in row[2]]
        geometry = header.geometry(size, pixel_mm)
        scan = Scan(values, geometry, variance, header.name, file_name=header.path.name, steps=(*notes, *steps))
        scan = _without_rows(scan, dead)
    except InputError as error:
        raise InputError(f"{header.path}: {error}") from error
    return scan if isinstance(rows, CountRows) else _with_masked_told(scan)


def _each_row(rows: Rows, n_rows: int) -> tuple[dict[int, _Row], dict[int, InputError]]:
    """By number the rows, and why others cannot be used; one of them, or a tenth, a scan can do without."""
    found: dict[int, _Row] = {}
    dead: dict[int, InputError] = {}
    for at in range(n_rows):
        try:
            found[at] = _of_one_row(rows, at)
        except InputError as error:
            dead[at] = error
    if not found:
        raise dead[0]
    if len(dead) > max(1, MOST_MISSING * n_rows):
        first, why = next(iter(dead.items()))
        raise InputError(
            f"expected detector rows that can be used, got {len(dead)} of {n_rows} that cannot, more than could be "
            f"masked: rows {', '.join(map(str, dead))}. Crop the detector to the others. Row {first}: {why}"
        )
    return found, dead


def _without_rows(scan: Scan, dead: Mapping[int, InputError]) -> Scan:
    """The scan with these detector rows masked, and with a step that says why."""
    if not dead:
        return scan
    rays = torch.zeros_like(scan.masked)
    rays[:, list(dead)] = True
    why = "; ".join(f"row {at}: {error}" for at, error in dead.items())
    step = ProcessingStep("dead rows", f"masked {amount(len(dead), 'detector row')}. {why}", {"rows": tuple(dead)})
    return replace(scan.with_masked(rays), steps=(*scan.steps, step))


def _rows_or_none(source: ScanSource, start: int, stop: int) -> Rows | None:
    try:
        return source.rows(start, stop)
    except InputError:
        return None


def _scan(header: ScanHeader, rows: Rows, row: int, at: int, size: int | None, pixel_mm: float | None) -> Scan:
    """The scan of detector row `row`, which is the `at`-th of `rows`."""
    name = header.name if header.shape[1] == 1 else f"{header.name} row {row}"
    read = [ProcessingStep("reading", note) for note in header.notes]
    try:
        values, variance, steps = _of_one_row(rows, at)
        geometry = header.geometry(size, pixel_mm)
        scan = Scan(values, geometry, variance, name, file_name=header.path.name, steps=(*read, *steps))
    except InputError as error:
        raise InputError(f"{header.path}: {error}") from error
    return scan if isinstance(rows, CountRows) else _with_masked_told(scan)


def _with_masked_told(scan: Scan) -> Scan:
    """The scan with a step that says how many rays are masked by the variance that its file states."""
    n_rays = int(scan.masked.sum())
    if not n_rays:
        return scan
    text = (
        f"masked {n_rays:,} of {scan.masked.numel():,} rays, whose stated variance is above {MASKED_FROM:.0e} times "
        "the harmonic mean"
    )
    return replace(scan, steps=(*scan.steps, ProcessingStep("stated noise", text, {"rays": n_rays})))


def _of_one_row(rows: Rows, at: int) -> _Row:
    """Line integrals (angle, col), their variance, and what was done to them."""
    if isinstance(rows, CountRows):
        found = line_integrals(rows.counts[:, at], rows.flats[:, at], rows.darks[:, at])
        return found.line_integrals, found.variance, found.steps
    variance = rows.noise_variance
    return rows.values[:, at], variance[:, at] if isinstance(variance, np.ndarray) else variance, ()
