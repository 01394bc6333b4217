"""Files that are whole or absent: written under another name in the same folder, synced to disk, then renamed."""

from __future__ import annotations

import glob
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ctuq.errors import InputError


def require_writable(path: Path, *, force: bool) -> None:
    """Say now whether `path` could be written, so that minutes of work are not lost to a wrong name.

    Args:
        path: the file that is to be written.
        force: whether an existing file may be replaced.

    Raises:
        InputError: it exists and `force` is not given, it is a folder, or its folder is missing or read-only.
    """
    folder = path.parent
    if not folder.is_dir():
        came = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"expected a folder to write {path.name} into, but {folder} {came}; try: mkdir -p {folder}")
    if path.is_dir():
        raise InputError(f"expected the name of a file to write, but {path} is a folder; try: {path / 'result.h5'}")
    if path.exists() and not force:
        raise InputError(
            f"expected a new file, but {path} exists; try another name, or --force (force=True) to replace it"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"expected a folder that can be written to, but {folder} is read-only; try another folder")


def require_outputs(paths: Sequence[Path], *, source: Path, force: bool) -> None:
    """Say now whether all that a command is to write could be written.

    Args:
        paths: of the files.
        source: what they are made from, which none of them may replace.
        force: whether other existing files may be replaced.

    Raises:
        InputError: two of one name, the source's name, or as `require_writable`.
    """
    for path in paths:
        if paths.count(path) > 1:
            other = "another name" if path.suffix == ".h5" else path.with_suffix(".h5").name
            raise InputError(f"expected a name of its own for every file, got {path} for two of them; try {other}")
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"expected files that differ from what they are made from, got {path}; try another name")
        require_writable(path, force=force)


@contextmanager
def written_whole(path: Path, *, force: bool) -> Iterator[Path]:
    """Lend a temporary name beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    What the block wrote is on disk before it gets its name, so a power cut leaves the old file or the new one.

    Args:
        path: the file that is to be written.
        force: whether an existing file may be replaced.

    Yields:
        The name to write to.

    Raises:
        InputError: as `require_writable`, and when the folder refuses the file after all.
    """
    require_writable(path, force=force)
    # Machine and process id keep two runs that write the same name out of each other's way.
    part = path.with_name(f".{path.name}~{socket.gethostname()}-{os.getpid()}.part")
    try:
        try:
            part.touch()
        except OSError as error:  # root may write anywhere by permission, yet not to a read-only disk
            raise InputError(
                f"expected a folder that can be written to, but {path.parent} refused {path.name} "
                f"({error.strerror}); try another folder"
            ) from error
        yield part
        _sync(part)
        require_writable(path, force=force)  # another run may have come first
        part.replace(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)  # also after KeyboardInterrupt; after the rename there is nothing to remove


def write_text_whole(text: str, path: Path) -> Path:
    """Write text as UTF-8, in place of an older file.

    Returns:
        The path.

    Raises:
        InputError: as `written_whole`.
    """
    with written_whole(path, force=True) as part:
        part.write_text(text, encoding="utf-8")
    return path


def remove_parts(paths: Iterable[Path]) -> None:
    """Remove what killed processes left of these files. Only for who knows that nobody is writing them now."""
    for path in paths:
        for part in path.parent.glob(f".{glob.escape(path.name)}~*.part"):
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
