"""Reading a scan that a user names: for commands, which a damaged file must not take down."""

from __future__ import annotations

from pathlib import Path

from ctuq.hdf5 import require_survivable
from ctuq.scan import Scan
from ctuq.scan_file import read_scan
from ctuq.source_choice import SourceChoice


def read_survivable_scan(path: Path, *, row: int | None, choice: SourceChoice) -> Scan:
    """`ctuq.scan_file.read_scan`, after another process went through the file.

    Args:
        path: file of any layout that ctuq reads.
        row: detector row, from 0; None: the middle one.
        choice: what the file does not say, or says wrongly.

    Raises:
        InputError: as `read_scan` and `require_survivable`.
    """
    require_survivable(path)
    return read_scan(path, row=row, choice=choice)
