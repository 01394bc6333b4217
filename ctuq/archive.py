"""What the batch asks of a file: which entries and rows it has, what its content is, and the scan of each row.

The three places where a file's format matters are here: `_parts`, `content_sha256` and `read_rows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctuq.errors import InputError
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scans
from ctuq.source_choice import SourceChoice

SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".toml")
"""Endings of the files that are looked for in a folder."""


@dataclass(frozen=True)
class Entry:
    """One measurement in a file.

    Args:
        name: where the file has several; empty where it has one.
        n_views: angles.
        n_rows: detector rows.
        n_detectors: detector pixels in a row.
        pitch_mm: of rows, at the rotation axis; square detector pixels are assumed.
        problem: why it cannot be reconstructed, with zeros for the sizes; or empty.
    """

    name: str
    n_views: int = 0
    n_rows: int = 0
    n_detectors: int = 0
    pitch_mm: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Contents:
    """What was found in a file.

    Args:
        sha256: of its bytes, in hex; empty where it could not be read.
        entries: measurements in the file.
        problem: why there are none, or empty.
    """

    sha256: str
    entries: tuple[Entry, ...]
    problem: str = ""

    @property
    def flawed(self) -> bool:
        """Whether the file or an entry of it cannot be reconstructed."""
        return bool(self.problem) or any(entry.problem for entry in self.entries)


def files_in(scans: Sequence[Path]) -> list[Path]:
    """The files that were named, with folders replaced by the HDF5 files directly inside; resolved, sorted, once each.

    Raises:
        InputError: something that does not exist, or a folder without such files; all of them at once.
    """
    found: set[Path] = set()
    problems = []
    for scan in scans:
        if not scan.exists():
            problems.append(f"expected a scan or a folder of scans, but {scan} does not exist: check its spelling")
        elif scan.is_dir():
            inside = [path.resolve() for path in scan.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
            found.update(inside)
            if not inside:
                problems.append(f"expected a folder of scans, but {scan} has no file ending in {', '.join(SUFFIXES)}")
        else:
            found.add(scan.resolve())
    if problems:
        raise InputError("\n".join(problems))
    return sorted(found)


def look(path: Path) -> Iterator[Contents]:
    """Read a file's headers and its bytes once; yields one item, as work for a worker process."""
    try:
        entries = _parts(path)
        yield Contents(content_sha256(path), entries)
    except InputError as error:
        yield Contents(_sha256_or_nothing(path), (), str(error))
    except OSError as error:
        message = f"{path}: expected a file that can be read, got: {error.strerror or error}: check its permissions"
        yield Contents("", (), message)


def _parts(path: Path) -> tuple[Entry, ...]:
    names = inspect(path).entries
    return tuple(_one_of_several(path, name) for name in names) if len(names) > 1 else (_entry(path, ""),)


def _one_of_several(path: Path, name: str) -> Entry:
    try:
        return _entry(path, name)
    except InputError as error:
        return Entry(name, problem=str(error))


def _entry(path: Path, name: str) -> Entry:
    header = inspect(path, _choice(name))
    if header.problems:
        which = f", entry {name}," if name else ""
        raise InputError("\n".join([f"{path}{which} cannot be read as a scan:", *(f"- {p}" for p in header.problems)]))
    views, rows, detectors = header.shape
    # The field of view at the axis is the detector's length without magnification.
    return Entry(name, views, rows, detectors, header.geometry(size=1).field_of_view_mm / detectors)


def _choice(entry: str) -> SourceChoice:
    return SourceChoice(entry=entry or None)


def content_sha256(path: Path) -> str:
    """Of all bytes of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_or_nothing(path: Path) -> str:
    try:
        return content_sha256(path)
    except OSError:
        return ""


def read_rows(path: Path, entry: str, rows: Sequence[int]) -> Iterator[tuple[int, Scan | InputError]]:
    """The scan of each row, or why there is none; all of them are in memory at a time."""
    yield from read_scans(path, rows, choice=_choice(entry))
