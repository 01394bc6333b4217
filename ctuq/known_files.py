"""Files that were looked at, and the names of their results: what a manifest remembers of its inputs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from ctuq.archive import Contents, Entry, stamp
from ctuq.batch_database import exclusive
from ctuq.source_choice import SourceChoice


class KnownFiles:
    """The inputs of a manifest.

    Args:
        database: the manifest's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def known(self, path: Path, choice: SourceChoice) -> Contents | None:
        """What was found in a file with this choice the last time, unless it or what it leads to has changed since."""
        row = self._db.execute(
            "SELECT sha256, problem FROM files WHERE path = ? AND choice = ?", [str(path), repr(choice)]
        ).fetchone()
        rows = self._db.execute("SELECT path, size, mtime_ns FROM stamps WHERE source = ?", [str(path)])
        stamps = {Path(name): (size, mtime_ns) for name, size, mtime_ns in rows}
        if row is None or any(seen != stamp(file) for file, seen in stamps.items()):
            return None
        entries = self._db.execute(
            "SELECT name, n_views, n_rows, n_detectors, pitch_mm, rows_together, problem FROM entries "
            "WHERE path = ? ORDER BY rowid",
            [str(path)],
        )
        return Contents(row[0], tuple(Entry(*entry) for entry in entries), row[1], stamps)

    def remember(self, path: Path, choice: SourceChoice, found: Contents, seen: tuple[int, int]) -> None:
        """Keep what was found in a file that had this size and time of change before it was read."""
        with exclusive(self._db):
            self._db.execute("DELETE FROM entries WHERE path = ?", [str(path)])
            self._db.execute("DELETE FROM stamps WHERE source = ?", [str(path)])
            self._db.execute(
                "REPLACE INTO files VALUES (?, ?, ?, ?)", [str(path), repr(choice), found.sha256, found.problem]
            )
            self._db.executemany(
                "INSERT INTO stamps VALUES (?, ?, ?, ?)",
                [(str(path), str(file), *values) for file, values in {**found.stamps, path: seen}.items()],
            )
            self._db.executemany(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(str(path), *astuple(entry)) for entry in found.entries],
            )

    def names(self) -> dict[str, tuple[Path, str]]:
        """Names of results that are taken: name to (file, entry)."""
        return {name: (Path(path), entry) for name, path, entry in self._db.execute("SELECT * FROM names")}

    def take_names(self, names: Iterable[tuple[str, Path, str]]) -> None:
        """Give names (name, file, entry) away, inside `exclusive`."""
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", [(n, str(p), e) for n, p, e in names])
