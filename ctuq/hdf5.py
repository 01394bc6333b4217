"""Opening HDF5 files that users name, and reading their text."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ctuq.errors import InputError


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDF5 file, for reading.

    Raises:
        InputError: nothing there, a folder, another format, or a file that is cut short or damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a file, got no such file: check the path and its spelling")
    if path.is_dir():
        raise InputError(f"{path}: expected a sinogram file (HDF5), got a folder: name a file inside it")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(_why_not_opened(path, str(error))) from error
    with file:
        yield file


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what HDF5 stumbles over while reading a damaged file into an error that names the file.

    Put only reading inside: a missing key or a failed computation would be taken for damage as well.

    Raises:
        InputError: a header that makes no sense, or data that cannot be decompressed.
    """
    try:
        yield
    except InputError:  # a ValueError, yet one that says already what to do
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's, for metadata that it cannot decode
        raise InputError(
            f"{path}: expected an undamaged HDF5 file, got: {error}. Copy it again, or write it again"
        ) from error


def _why_not_opened(path: Path, reason: str) -> str:
    if "truncated" in reason:
        size = path.stat().st_size
        return f"{path}: expected a whole HDF5 file, got one that is cut short at {size} bytes: copy or write it again"
    try:
        is_hdf5 = bool(h5py.is_hdf5(path))
    except OSError:
        is_hdf5 = True  # not even its signature can be read; the reason says why
    if not is_hdf5:
        return f"{path}: expected an HDF5 file, got another format or an empty file: convert it (see data_scripts/)"
    return f"{path}: expected a readable HDF5 file, got: {reason}. Check its permissions, or copy it again"


def text_of(value: Any) -> str:
    """An attribute as text, whether it was written as bytes, as a string or not at all (then empty)."""
    if value is None:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
