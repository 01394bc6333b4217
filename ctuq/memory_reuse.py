"""Freed memory kept for the next array of its size."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 2**30  # bytes
_LARGEST_OF_OLD = 2**25  # that older versions take


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte an array, in place of handing it back to the system.

    A network's features are as large as images times channels, and are made and freed in every pass. A page that comes
    anew from the system has to be cleared first: at 256 x 256 pixels that was a third of the time of a product with the
    Jacobian. It is a setting of the process, and so for the command line and its workers alone; other C libraries than
    glibc stay as they are.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        if not library.mallopt(_MMAP_THRESHOLD, _LARGEST):
            library.mallopt(_MMAP_THRESHOLD, _LARGEST_OF_OLD)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
