"""A file whose lock says that a run is alive and wants its work: the system lets go of it however the run ends."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from pathlib import Path

from ctuq.errors import InputError

_PATTERN = ".run-*.lock"


class RunLock:
    """The lock of one run on a folder of results. Its name is the run's.

    Args:
        folder: of the results; on a network file system its locks must work between machines.

    Raises:
        InputError: the folder cannot be written to, or its file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f".run-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
        try:
            self._file = self.path.open("wb")
        except OSError as error:
            raise InputError(
                f"expected a folder that can be written to, but {folder} refused a file ({error.strerror}); "
                "try another folder"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise InputError(
                f"expected a file system with locks, but that of {folder} has none ({error.strerror}): try another "
                "folder, or mount it with locks (NFS: version 4; Lustre: flock)"
            ) from error

    @property
    def name(self) -> str:
        """Unique among all runs on all machines."""
        return self.path.name

    def stop(self) -> None:
        """Say that work for this run may be given up; the run itself goes on living until `release`."""
        self._file.write(b"stop")
        self._file.flush()

    def release(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)
        self._file.close()


def is_alive(path: Path) -> bool:
    """Whether the run with this lock lives, on whatever machine."""
    try:
        with path.open("rb") as file:
            # Shared, so that two who look at once do not take each other for the run.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held, or a network that stumbles
        return True
    return False


def wants_work(path: Path) -> bool:
    """Whether the run with this lock lives and has not been stopped."""
    try:
        return path.stat().st_size == 0 and is_alive(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def remove_dead(folder: Path) -> None:
    """Remove the locks of runs that are dead. Only while no run begins: a lock is born before it is held."""
    for path in folder.glob(_PATTERN):
        if not is_alive(path):
            path.unlink(missing_ok=True)
