"""Units of batch work: a slice is one row of one scan, a job is neighbouring rows that one worker takes together."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ctuq.errors import CtuqError, InputError
from ctuq.source_choice import SourceChoice


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One row of a scan, and where its result goes.

    Args:
        scan: name of the scan's results, unique in the folder.
        row: detector row, from 0.
        source: the file, absolute.
        entry: in the file; empty where it has one only.
        n_rows: of the file's entry; with more than one, results are parts of a volume.
        pitch_mm: distance of rows at the rotation axis.
        key: hash of all that decides the result.
        shown: whether picture and report are written: of every scan of one row, and of a volume's middle row of those
            that are wanted.
    """

    scan: str
    row: int
    source: Path
    entry: str
    n_rows: int
    pitch_mm: float
    key: str
    shown: bool = False

    @property
    def result(self) -> str:
        """Path of the result file in the folder of results."""
        return f"{self.scan}.h5" if self.n_rows == 1 else part_name(self.scan, self.row)

    @property
    def label(self) -> str:
        """Its name in messages and tables: that of the scan, and of several rows which one."""
        return self.scan if self.n_rows == 1 else f"{self.scan} row {self.row}"

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Every file that belongs to it, the result first."""
        pages = tuple(folder / f"{self.scan}{suffix}" for suffix in (".png", ".html")) if self.shown else ()
        return (folder / self.result, *pages)


def part_name(scan: str, row: int) -> str:
    """Path of a volume's part in the folder of results."""
    return f"{scan}.parts/row-{row:05d}.h5"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is given.

    Args:
        slices: of one scan, by rising row.
        folder: of results.
        config: resolved, as JSON knows it.
        seed: of every random draw.
        config_file: that it came from, for the command that repeats a slice.
        overrides: likewise.
        choice: what the file does not say, or says wrongly; the entry is the slices'.
    """

    slices: tuple[Slice, ...]
    folder: Path
    config: Mapping[str, Any]
    seed: int
    config_file: Path | None = None
    overrides: tuple[str, ...] = ()
    choice: SourceChoice = field(default_factory=SourceChoice)

    @property
    def source_choice(self) -> SourceChoice:
        """With the entry of the slices."""
        return replace(self.choice, entry=self.slices[0].entry or self.choice.entry)


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """What a worker says of one slice when its files are written, or cannot be.

    Args:
        row: of the slice.
        reason: why it failed; empty: it did not.
        lasting: whether it would fail again, as the scan or the settings are at fault.
        seconds: it took.
        host: machine.
        median_std: of the deviation map, 1/mm.
        chi_square: of the test rays, per ray.
        coverage_95: share of the test rays inside their 95 % interval.
        calibrated: the verdict on the error bars.
        thumbnail: small picture (WebP) of the image.
    """

    row: int
    reason: str = ""
    lasting: bool = False
    seconds: float = 0.0
    host: str = ""
    median_std: float | None = None
    chi_square: float | None = None
    coverage_95: float | None = None
    calibrated: bool | None = None
    thumbnail: bytes = b""


def settings_key(
    config: Mapping[str, Any], *, version: str, seed: int, named: Mapping[str, str | None] | None = None
) -> str:
    """Hash of what a whole batch is made with; `named` are the parts of files that the user named."""
    return _digest([config, version, seed, dict(named or {})])


def slice_key(settings: str, *, sha256: str, entry: str, row: int) -> str:
    """Hash of all that decides a result: `settings_key`, and what the slice is made from."""
    return f"{settings}:{_digest([sha256, entry, row])}"


def same_settings(one: str, other: str) -> bool:
    """Whether two slice keys are of the same configuration, version and seed."""
    return one.partition(":")[0] == other.partition(":")[0]


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def reason_of(error: BaseException) -> str:
    """A failure in words for whoever reads the summary on Monday."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error}): make room, then run again with --retry-failed"
    if isinstance(error, MemoryError):
        return "out of memory: use fewer workers, or a smaller image (grid.size)"
    if isinstance(error, (CtuqError, InputError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
