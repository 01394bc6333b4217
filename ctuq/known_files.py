"""Files that were looked at, and the names of their results: what a manifest remembers of its inputs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from ctuq.archive import Contents, Entry
from ctuq.batch_database import exclusive


class KnownFiles:
    """The inputs of a manifest.

    Args:
        database: the manifest's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def known(self, path: Path) -> Contents | None:
        """What was found in a file the last time, unless it has changed since."""
        row = self._db.execute(
            "SELECT size, mtime_ns, sha256, problem FROM files WHERE path = ?", [str(path)]
        ).fetchone()
        if row is None or (row[0], row[1]) != stamp(path):
            return None
        entries = self._db.execute(
            "SELECT name, n_views, n_rows, n_detectors, pitch_mm, problem FROM entries WHERE path = ? ORDER BY rowid",
            [str(path)],
        )
        return Contents(row[2], tuple(Entry(*entry) for entry in entries), row[3])

    def remember(self, path: Path, found: Contents, seen: tuple[int, int]) -> None:
        """Keep what was found in a file that had this size and time of change before it was read."""
        with exclusive(self._db):
            self._db.execute("DELETE FROM entries WHERE path = ?", [str(path)])
            self._db.execute(
                "REPLACE INTO files VALUES (?, ?, ?, ?, ?)", [str(path), *seen, found.sha256, found.problem]
            )
            self._db.executemany(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(str(path), *astuple(entry)) for entry in found.entries],
            )

    def names(self) -> dict[str, tuple[Path, str]]:
        """Names of results that are taken: name to (file, entry)."""
        return {name: (Path(path), entry) for name, path, entry in self._db.execute("SELECT * FROM names")}

    def take_names(self, names: Iterable[tuple[str, Path, str]]) -> None:
        """Give names (name, file, entry) away, inside `exclusive`."""
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", [(n, str(p), e) for n, p, e in names])


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change, by which a file is known again; zeros for one that cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
