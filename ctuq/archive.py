"""What the batch asks of a file: which entries and rows it has, what its content is, and the scan of each row.

The places where a file's format matters are here: `_headers` and `read_rows`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctuq.errors import InputError
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scans
from ctuq.scan_header import ScanHeader
from ctuq.source_choice import SourceChoice

SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".toml")
"""Endings of the files that are looked for in a folder."""

_MOST_ROWS = 16  # taken together: reading is cheap beside them by then, and other workers want some
_BLOCK_BYTES = 2**30  # of rows that are taken together
_STRETCH = 2**26  # bytes read at a time


@dataclass(frozen=True)
class Entry:
    """One measurement in a file.

    Args:
        name: where the file has several; empty where it has one.
        n_views: angles.
        n_rows: detector rows.
        n_detectors: detector pixels in a row.
        pitch_mm: of rows, at the rotation axis; square detector pixels are assumed.
        rows_together: that are stored together, in blocks from row 0.
        problem: why it cannot be reconstructed, with zeros for the sizes; or empty.
    """

    name: str
    n_views: int = 0
    n_rows: int = 0
    n_detectors: int = 0
    pitch_mm: float = 0.0
    rows_together: int = 1
    problem: str = ""

    @property
    def row_block(self) -> int:
        """Rows that a worker best takes together: a whole part of those that are stored together.

        What is stored decides, and no machine, so that shards cut alike.
        """
        fitting = max(1, min(_MOST_ROWS, _BLOCK_BYTES // max(1, self.bytes_of(1))))
        return max(rows for rows in range(1, fitting + 1) if self.rows_together % rows == 0)

    def bytes_of(self, rows: int) -> int:
        """That rows take while they are held in memory, with what is stated of their noise, at most."""
        return 16 * rows * self.n_views * self.n_detectors


@dataclass(frozen=True)
class Contents:
    """What was found in a file.

    Args:
        sha256: of its bytes and of those of the files that it leads to, in hex; empty where they could not be read.
        entries: measurements in the file.
        problem: why there are none, or empty.
        stamps: sizes and times of change, before they were read, of all files that the entries depend on.
    """

    sha256: str
    entries: tuple[Entry, ...]
    problem: str = ""
    stamps: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def flawed(self) -> bool:
        """Whether the file or an entry of it cannot be reconstructed."""
        return bool(self.problem) or any(entry.problem for entry in self.entries)


def files_in(scans: Sequence[Path]) -> list[Path]:
    """The files that were named, with folders replaced by the scans directly inside; resolved, sorted, once each.

    Scans are HDF5 files and TOML files that describe TIFF files.

    Raises:
        InputError: something that does not exist, or a folder without such files; all of them at once.
    """
    found: set[Path] = set()
    problems = []
    for scan in scans:
        if not scan.exists():
            problems.append(f"expected a scan or a folder of scans, but {scan} does not exist: check its spelling")
        elif scan.is_dir():
            inside = [path.resolve() for path in scan.iterdir() if _may_be_scan(path)]
            found.update(inside)
            if not inside:
                problems.append(f"expected a folder of scans, but {scan} has no file ending in {', '.join(SUFFIXES)}")
        else:
            found.add(scan.resolve())
    if problems:
        raise InputError("\n".join(problems))
    return sorted(found)


def _may_be_scan(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    try:
        return path.suffix.lower() != ".toml" or "data" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return True  # a damaged one is a failure to be told of


def parts_of_others(found: Mapping[Path, Contents]) -> set[Path]:
    """Files that are no scans themselves, but hold numbers of others in the list."""
    held = {file for path, contents in found.items() for file in contents.stamps if file != path}
    return {path for path, contents in found.items() if contents.problem and path in held}


def look(asked: tuple[Path, SourceChoice]) -> Iterator[int | Contents]:
    """Read a file's headers, and once every byte that its scans depend on; work for a worker process.

    Args:
        asked: the file, and what it does not say or says wrongly.

    Yields:
        How many bytes were read, now and then, and what was found at the end.
    """
    path, choice = asked
    try:
        try:
            headers = _headers(path, choice)
        except InputError as error:
            yield Contents((yield from _sha256_of((path,))), (), str(error))
            return
        files = tuple(sorted({file for header in headers.values() for file in header.files}))
        stamps = {file: stamp(file) for file in files}  # before they are read
        entries = tuple(entry_of(path, name, header) for name, header in headers.items())
        alone = entries[0].problem if len(entries) == 1 else ""
        yield Contents((yield from _sha256_of(files)), () if alone else entries, alone, stamps)
    except OSError as error:
        message = f"{path}: expected a file that can be read, got: {error.strerror or error}: check its permissions"
        yield Contents("", (), message)


def _headers(path: Path, choice: SourceChoice) -> dict[str, ScanHeader]:
    """By entry; that of a file with one only has no name."""
    header = inspect(path, choice)
    if len(header.entries) <= 1:
        return {"": header}
    if choice.entry is not None:
        return {choice.entry.strip("/"): header}
    return {name: inspect(path, replace(choice, entry=name)) for name in header.entries}


def entry_of(path: Path, name: str, header: ScanHeader) -> Entry:
    """What the batch asks of a measurement, from its header."""
    if header.is_volume:
        return Entry(
            name,
            problem=f"{path}: expected scans of slices, got a cone beam, whose rows are one volume: use ctuq "
            "reconstruct",
        )
    if header.problems:
        which = f", entry {name}," if name else ""
        problems = [f"{path}{which} cannot be read as a scan:", *(f"- {problem}" for problem in header.problems)]
        return Entry(name, problem="\n".join(problems))
    views, rows, detectors = header.shape
    # The field of view at the axis is the detector's length without magnification.
    return Entry(
        name, views, rows, detectors, header.geometry(size=1).field_of_view_mm / detectors, header.rows_together
    )


def _sha256_of(files: Sequence[Path]) -> Generator[int, None, str]:
    """Of all bytes of the files, in hex: that of one alone, or of a list of those of several. Folders are left out."""
    digests, done = [], 0
    for path in (file for file in files if not file.is_dir()):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while stretch := file.read(_STRETCH):
                digest.update(stretch)
                done += len(stretch)
                yield done
        digests.append(digest.hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change, by which a file is known again; zeros for one that cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def read_rows(path: Path, rows: Sequence[int], choice: SourceChoice) -> Iterator[tuple[int, Scan | InputError]]:
    """The scan of each row, or why there is none; all of them are in memory at a time."""
    yield from read_scans(path, rows, choice=choice)
