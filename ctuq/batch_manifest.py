"""The slices of a folder of results and how each stands: pending, running, done or failed.

Any number of runs may share the folder: a slice is claimed by one of them, and one whose run died (see `ctuq.run_lock`)
is pending again. Only the runs open the manifest, never their workers.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctuq.batch_database import exclusive
from ctuq.batch_job import Slice, SliceResult
from ctuq.known_files import KnownFiles

_SLICE = "scan, row, source, entry, n_rows, pitch_mm, key, shown"


@dataclass(frozen=True)
class Record:
    """A slice and how it stands, without its thumbnail."""

    slice: Slice
    state: str
    reason: str
    attempts: int
    seconds: float | None
    host: str
    started: float | None
    ended: float | None
    median_std: float | None
    chi_square: float | None
    coverage_95: float | None
    calibrated: bool | None


class Manifest:
    """What a run knows and changes of the slices; for one thread.

    Args:
        folder: of results.
        database: see `ctuq.batch_database`; a copy in memory shows what would happen.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self.folder = folder
        self.files = KnownFiles(database)
        self._db = database
        self._db.execute(
            "CREATE TEMP TABLE wanted "
            "(position INTEGER PRIMARY KEY, scan TEXT, row INTEGER, block INTEGER, settled INTEGER)"
        )
        self._db.execute("CREATE INDEX temp.wanted_open ON wanted (settled, position)")
        self._db.execute("CREATE INDEX temp.wanted_slice ON wanted (scan, row)")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def exclusive(self) -> AbstractContextManager[None]:
        """One transaction, with every other run kept out meanwhile.

        Raises:
            CtuqError: the disk is full or read-only.
        """
        return exclusive(self._db)

    def standing(self, one: Slice) -> tuple[str, str, str] | None:
        """(state, key, owner) of a slice, or None where it is new."""
        found: tuple[str, str, str] | None = self._db.execute(
            "SELECT state, key, coalesce(owner, '') FROM slices WHERE scan = ? AND row = ?", [one.scan, one.row]
        ).fetchone()
        return found

    def put(self, one: Slice, state: str, reason: str = "", *, lasting: bool = False) -> None:
        """Make a slice new in this state, inside `exclusive`. How often it was begun is remembered."""
        fresh = (
            f"INSERT INTO slices ({_SLICE}, state, reason, lasting, attempts) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        attempts = self._db.execute(
            "DELETE FROM slices WHERE scan = ? AND row = ? RETURNING attempts", [one.scan, one.row]
        ).fetchone()
        self._db.execute(fresh, [*_columns(one), state, reason, lasting, attempts[0] if attempts else 0])

    def want(self, blocks: Iterable[Sequence[Slice]]) -> None:
        """What this run claims from, in this order; each block is claimed together."""
        numbered = [(one.scan, one.row, block) for block, slices in enumerate(blocks) for one in slices]
        with self.exclusive():
            self._db.execute("DELETE FROM wanted")
            self._db.executemany(
                "INSERT INTO wanted (scan, row, block, settled) "
                "SELECT :1, :2, :3, state IN ('done', 'failed') FROM slices WHERE scan = :1 AND row = :2",
                [{"1": scan, "2": row, "3": block} for scan, row, block in numbered],
            )

    def claim(self, owner: str, is_alive: Callable[[str], bool]) -> tuple[Slice, ...]:
        """Take the pending slices of the next block; empty when there are none. Slices of dead runs are pending."""
        pending = (
            "SELECT {} FROM wanted JOIN slices USING (scan, row) WHERE settled = 0 AND state = 'pending' {} "
            "ORDER BY position"
        )
        with self.exclusive():
            self.take_over(is_alive)
            first = self._db.execute(pending.format("block", "") + " LIMIT 1").fetchone()
            if first is None:
                return ()
            taken = [_slice(row) for row in self._db.execute(pending.format(_SLICE, "AND block = ?"), first)]
            self._db.executemany(
                "UPDATE slices SET state = 'running', owner = ?, started = ?, attempts = attempts + 1 "
                "WHERE scan = ? AND row = ?",
                [(owner, time.time(), one.scan, one.row) for one in taken],
            )
        return tuple(taken)

    def take_over(self, is_alive: Callable[[str], bool]) -> None:
        """Make what dead runs had claimed pending, inside `exclusive`."""
        owners = self._db.execute("SELECT DISTINCT owner FROM slices WHERE state = 'running'").fetchall()
        for (owner,) in owners:
            if not is_alive(owner):
                self._db.execute("UPDATE slices SET state = 'pending' WHERE state = 'running' AND owner = ?", [owner])

    def settle(self, owner: str, scan: str, results: Iterable[SliceResult]) -> None:
        """Write down what came of slices that this run had claimed; what another run took over meanwhile stays its."""
        with self.exclusive():
            for result in results:
                values = asdict(result) | {"owner": owner, "scan": scan, "ended": time.time()}
                values["state"] = "failed" if result.reason else "done"
                self._db.execute(
                    "UPDATE slices SET state = :state, reason = :reason, lasting = :lasting, seconds = :seconds, "
                    "host = :host, ended = :ended, median_std = :median_std, chi_square = :chi_square, "
                    "coverage_95 = :coverage_95, calibrated = :calibrated, thumbnail = :thumbnail "
                    "WHERE scan = :scan AND row = :row AND state = 'running' AND owner = :owner",
                    values,
                )
                self._db.execute("UPDATE wanted SET settled = 1 WHERE scan = ? AND row = ?", [scan, result.row])

    def give_back(self, owner: str, slices: Iterable[Slice] | None = None) -> None:
        """Make slices that this run had claimed pending again; None: all of them."""
        mine = "UPDATE slices SET state = 'pending' WHERE state = 'running' AND owner = ?"
        with self.exclusive():
            if slices is None:
                self._db.execute(mine, [owner])
            else:
                some = [(owner, one.scan, one.row) for one in slices]
                self._db.executemany(f"{mine} AND scan = ? AND row = ?", some)

    def counts(self, *, wanted: bool = False) -> dict[str, int]:
        """Slices by state; of the whole folder, or of those that this run wants."""
        found = self._db.execute(f"SELECT state, count(*) FROM {_source(wanted)} GROUP BY state")  # noqa: S608
        return dict.fromkeys(("pending", "running", "done", "failed"), 0) | dict(found.fetchall())

    def believed(self, *, wanted: bool = False) -> int:
        """How many finished slices have error bars to be believed; of the whole folder, or of what this run wants."""
        return self._count("state = 'done' AND calibrated", wanted)

    def lasting(self, *, wanted: bool = False) -> int:
        """How many failed slices would fail again; of the whole folder, or of those that this run wants."""
        return self._count("state = 'failed' AND lasting", wanted)

    def _count(self, condition: str, wanted: bool) -> int:
        query = f"SELECT count(*) FROM {_source(wanted)} WHERE {condition}"  # noqa: S608
        return int(self._db.execute(query).fetchone()[0])

    def wanted(self, state: str) -> list[tuple[Slice, str]]:
        """Those of the slices that this run wants which stand so, with the reason."""
        found = self._db.execute(
            f"SELECT {_SLICE}, reason FROM wanted JOIN slices USING (scan, row) WHERE state = ? ORDER BY position",  # noqa: S608
            [state],
        )
        return [(_slice(row[:-1]), row[-1] or "") for row in found]

    def open_blocks(self) -> list[tuple[int, Slice]]:
        """The pending slices that this run wants, each with the number of its block, in order."""
        found = self._db.execute(
            f"SELECT block, {_SLICE} FROM wanted JOIN slices USING (scan, row) "  # noqa: S608
            "WHERE state = 'pending' ORDER BY position"
        )
        return [(row[0], _slice(row[1:])) for row in found]

    def is_volume(self, scan: str) -> bool:
        """Whether results of a scan are parts of a volume."""
        return (
            self._db.execute("SELECT 1 FROM slices WHERE scan = ? AND n_rows > 1 LIMIT 1", [scan]).fetchone()
            is not None
        )

    def is_settled(self, scan: str) -> bool:
        """Whether nothing of a scan is pending or running, in any run."""
        query = "SELECT 1 FROM slices WHERE scan = ? AND state IN ('pending', 'running') LIMIT 1"
        return self._db.execute(query, [scan]).fetchone() is None

    def scans(self) -> list[str]:
        """Names of all scans with slices, sorted."""
        return [name for (name,) in self._db.execute("SELECT DISTINCT scan FROM slices ORDER BY scan")]

    def records(self, scan: str) -> list[Record]:
        """The slices of a scan, by row."""
        found = self._db.execute(
            f"SELECT {_SLICE}, state, reason, attempts, seconds, host, started, ended, median_std, chi_square, "  # noqa: S608
            "coverage_95, calibrated FROM slices WHERE scan = ? ORDER BY row",
            [scan],
        )
        return [_record(row) for row in found]

    def thumbnail(self, scan: str) -> bytes:
        """A small WebP of the scan's middle row, or of that done slice which is nearest; empty where there is none."""
        found = self._db.execute(
            "SELECT thumbnail FROM slices WHERE scan = ? AND state = 'done' "
            "ORDER BY abs(row - n_rows / 2), row LIMIT 1",
            [scan],
        ).fetchone()
        return bytes(found[0]) if found and found[0] else b""


def _source(wanted: bool) -> str:
    return "wanted JOIN slices USING (scan, row)" if wanted else "slices"


def _columns(one: Slice) -> list[Any]:
    return [one.scan, one.row, str(one.source), one.entry, one.n_rows, one.pitch_mm, one.key, one.shown]


def _slice(row: Sequence[Any]) -> Slice:
    names = [name.strip() for name in _SLICE.split(",")]
    values = dict(zip(names, row, strict=True))
    return Slice(**values | {"source": Path(values["source"]), "shown": bool(values["shown"])})


def _record(row: Sequence[Any]) -> Record:
    state, reason, attempts, seconds, host, started, ended, median_std, chi_square, coverage_95, calibrated = row[8:]
    verdict = None if calibrated is None else bool(calibrated)
    figures = (median_std, chi_square, coverage_95, verdict)
    return Record(_slice(row[:8]), state, reason or "", attempts, seconds, host or "", started, ended, *figures)
