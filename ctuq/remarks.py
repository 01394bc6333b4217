"""What is said of a file while it is looked at: problems and notes, gathered so that one does not hide the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Remarks:
    """Appended to by everyone who looks.

    Args:
        problems: what keeps ctuq from reconstructing the scan, each with what was expected, what came, what to try.
        notes: what was guessed or left out, and why.
        files: that the scan is read from, and folders whose list of files matters.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
