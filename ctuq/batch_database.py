"""The manifest of a folder of results as an SQLite file.

Every change is one transaction under SQLite's write lock, which works wherever the folder's file system has locks
(network file systems: NFS version 4, Lustre mounted with flock). The journal is a file beside the manifest, as the
faster write-ahead log needs memory that machines share.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctuq.errors import CtuqError, InputError

_VERSION = 3
_PATIENCE_S = 120  # for other runs' transactions
_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, choice TEXT, sha256 TEXT, problem TEXT) STRICT;
CREATE TABLE stamps (source TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, PRIMARY KEY (source, path)) STRICT;
CREATE TABLE entries (path TEXT, name TEXT, n_views INTEGER, n_rows INTEGER, n_detectors INTEGER, pitch_mm REAL,
    rows_together INTEGER, problem TEXT, PRIMARY KEY (path, name)) STRICT;
CREATE TABLE names (name TEXT PRIMARY KEY, path TEXT, entry TEXT, UNIQUE (path, entry)) STRICT;
CREATE TABLE slices (
    scan TEXT, row INTEGER, source TEXT, entry TEXT, n_rows INTEGER, pitch_mm REAL, key TEXT, shown INTEGER,
    state TEXT CHECK (state IN ('pending', 'running', 'done', 'failed')),
    owner TEXT, host TEXT, attempts INTEGER NOT NULL DEFAULT 0, started REAL, ended REAL, seconds REAL, reason TEXT,
    lasting INTEGER NOT NULL DEFAULT 0,
    median_std REAL, chi_square REAL, coverage_95 REAL, calibrated INTEGER, thumbnail BLOB,
    PRIMARY KEY (scan, row)) STRICT;
CREATE INDEX slices_by_state ON slices (state);
"""


def open_database(folder: Path) -> sqlite3.Connection:
    """Open manifest.sqlite of a folder, made if need be.

    Raises:
        InputError: a manifest of another version, or a file that is none.
        CtuqError: the disk is full or read-only.
    """
    return _ready(sqlite3.connect(folder / "manifest.sqlite", timeout=_PATIENCE_S, isolation_level=None), folder)


def copy_in_memory(folder: Path) -> sqlite3.Connection:
    """A copy of it, empty where there is none yet. Raises as `open_database` does."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if (folder / "manifest.sqlite").is_file():
        original = open_database(folder)
        original.backup(memory)
        original.close()
    return _ready(memory, folder)


def _ready(database: sqlite3.Connection, folder: Path) -> sqlite3.Connection:
    """Give it its tables if it is new."""
    expected = f"expected a manifest of version {_VERSION} in {folder / 'manifest.sqlite'}"
    try:
        with exclusive(database):
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
    except CtuqError:
        database.close()
        raise
    except sqlite3.DatabaseError as error:
        database.close()
        raise InputError(f"{expected}, got a file that is none ({error}): choose another --out") from error
    if version not in (0, _VERSION):
        database.close()
        raise InputError(f"{expected}, got version {version}: choose another --out")
    return database


@contextmanager
def exclusive(database: sqlite3.Connection) -> Iterator[None]:
    """One transaction, with every other run kept out meanwhile.

    Raises:
        CtuqError: the disk is full or read-only.
    """
    try:
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # a full disk may have rolled it back already
                database.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise CtuqError(
            f"expected to write the manifest of the results, but: {error}. Make room or mend the disk; the same "
            "command then goes on"
        ) from error
