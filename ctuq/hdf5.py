"""Opening HDF5 files that users name, and finding the parts of them."""

import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ctuq import hdf5_walk
from ctuq.errors import InputError
from ctuq.hdf5_storage import files_behind, storage_problem
from ctuq.remarks import Remarks

_CHUNK_CACHE = 64 * 2**20  # bytes a dataset; HDF5's own is too small for a frame of most detectors


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
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(_why_not_opened(path, str(error))) from error
    with file:
        yield file


def require_survivable(path: Path) -> None:
    """Have another process walk through an HDF5 file first.

    For whoever must not be taken down by a file: damaged metadata can make HDF5 crash or loop for ever.

    Raises:
        InputError: that process did not come back.
    """
    if path.suffix.lower() == ".toml" or not path.is_file():
        return
    # Not with -m: that would import ctuq, and torch with it.
    ended = subprocess.run(  # noqa: S603  our own interpreter, our own file
        [sys.executable, "-P", hdf5_walk.__file__, str(path)], capture_output=True, check=False
    )
    if ended.returncode < 0:
        how = "looped for ever" if -ended.returncode in (signal.SIGXCPU, signal.SIGKILL) else "crashed"
        raise InputError(
            f"{path}: expected an undamaged HDF5 file, got one over which HDF5 {how}: copy it again, or write it again"
        )


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what a library stumbles over while reading a damaged file into an error that names the file.

    Put only reading inside: a missing key or a failed computation would be taken for damage as well.

    Raises:
        InputError: a header that makes no sense, or data that cannot be decompressed.
    """
    try:
        yield
    except InputError:  # a ValueError, yet one that says already what to do
        raise
    # What h5py and tifffile have for metadata that they cannot decode, sizes that they cannot take among them.
    except (
        OSError,
        RuntimeError,
        LookupError,
        ValueError,
        TypeError,
        ArithmeticError,
        MemoryError,
        zlib.error,
    ) as error:
        raise InputError(
            f"{path}: expected an undamaged file, got: {str(error) or type(error).__name__}. Copy it again, or write "
            "it again"
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


def is_result(file: Any) -> bool:
    """Whether an open file is a result of `ctuq reconstruct` rather than a scan."""
    return isinstance(file.get("entry/reconstruction"), h5py.Group)


def text_of(value: Any) -> str:
    """An attribute or a dataset of text, whether it is bytes, a string, an array of one, or not there (empty)."""
    if isinstance(value, h5py.Dataset):
        value = value[()] if value.shape is not None and value.size == 1 else None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if value is None or isinstance(value, (np.ndarray, h5py.Group, h5py.Empty)):
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def find_dataset(file: Any, name: str, holds: str, remarks: Remarks) -> Any:
    """A dataset of numbers whose values are on disk; None, with a problem, where there is no such thing.

    Args:
        file: or a group of it.
        name: path in it.
        holds: what it is to hold, for the message.
        remarks: to append to.
    """
    expected = f"expected a dataset {name} with {holds}"
    found = follow(file, name)
    if not isinstance(found, h5py.Dataset):
        got = link_of(file, name) if found is None else "a group"
        present = ", ".join(f"/{key}" for key in file) or "nothing"
        remarks.problems.append(f"{expected}, got {got} (the file holds {present}): add it, or name another")
    elif found.shape is None:
        remarks.problems.append(f"expected {name} with {holds}, got an empty dataset: write the values")
    elif found.dtype.kind not in "fiub":
        remarks.problems.append(f"expected numbers in {name}, got type {found.dtype}: write it as float32")
    elif problem := storage_problem(found):
        remarks.problems.append(f"expected {name} with {holds}, got {problem}")
    else:
        remarks.files += _files_of(file, name, found)
        return found
    return None


def _files_of(file: Any, name: str, dataset: Any) -> list[Path]:
    """All that the values of a dataset depend on: the files that links on the way to it lead through, and its own."""
    parts = name.strip("/").split("/")
    nodes = [follow(file, "/".join(parts[:depth])) for depth in range(1, len(parts))]
    return [*(Path(node.file.filename) for node in nodes if node is not None), *files_behind(dataset)]


def follow(file: Any, name: str) -> Any:
    """What is at a path, or None where there is nothing or a link leads nowhere or in a circle."""
    try:
        return file.get(name)
    except (OSError, RuntimeError):  # h5py's for links that never end
        return None


def is_linked(file: Any, name: str) -> bool:
    """Whether there is something at a path, be it a link that leads nowhere."""
    try:
        return file.get(name, getlink=True) is not None
    except (OSError, RuntimeError):
        return True


def link_of(file: Any, name: str) -> str:
    """What is there in place of something that cannot be had: "none", or the link that leads nowhere."""
    node = file
    for part in name.strip("/").split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return "none"
        target = follow(node, part)
        if target is None and isinstance(link, h5py.ExternalLink):
            return f"a link to {link.path} in {link.filename}, which leads nowhere"
        if target is None and isinstance(link, h5py.SoftLink):
            return f"a link to {link.path}, which leads nowhere"
        node = target
    return "none"
