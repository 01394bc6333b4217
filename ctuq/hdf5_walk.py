"""A walk through an HDF5 file in a process of its own: `python -P hdf5_walk.py FILE`. Imports nothing of ctuq.

Damaged metadata can make HDF5 crash, or loop for ever, where no exception can be caught. Whoever starts this sees it by
the exit code; what HDF5 reports as an error is left for the reader to name.
"""

import math
import resource
import sys
from contextlib import suppress
from typing import Any

import h5py

CPU_SECONDS = 2  # of the processor, so that a slow disk is not taken for a loop; a walk takes hundredths of one
_MOST_OBJECTS = 5_000
_MOST_CHUNKS = 200_000
_SMALL = 2**20  # bytes of a dataset that is read as a whole


def walk(path: str) -> None:
    """Touch names, headers, attributes and chunk indices of everything in the file, its external links included."""
    seen: set[tuple[int, int]] = set()
    with suppress(Exception), h5py.File(path, "r") as file:
        _visit(file, seen)


def _visit(node: Any, seen: set[tuple[int, int]]) -> None:
    about = h5py.h5o.get_info(node.id)
    if (about.fileno, about.addr) in seen or len(seen) > _MOST_OBJECTS:
        return
    seen.add((about.fileno, about.addr))
    with suppress(Exception):
        dict(node.attrs)
    if isinstance(node, h5py.Dataset):
        # A virtual dataset may lead back to itself, which HDF5 follows for ever: `ctuq.hdf5_storage` looks first.
        if not node.is_virtual:
            _touch(node)
        return
    for name in list(node) if isinstance(node, h5py.Group) else []:
        with suppress(Exception):
            _visit(node[name], seen)


def _touch(dataset: Any) -> None:
    chunks = dataset.chunks
    if chunks and math.prod(-(-n // chunk) for n, chunk in zip(dataset.shape, chunks, strict=True)) <= _MOST_CHUNKS:
        dataset.id.get_num_chunks()
    if dataset.size * dataset.dtype.itemsize <= _SMALL:
        dataset[()]


if __name__ == "__main__":
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    walk(sys.argv[1])
