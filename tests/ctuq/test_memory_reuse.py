"""Freed memory kept by the command line's process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = """
import resource, torch
from ctuq.memory_reuse import keep_freed_memory
if {keep}:
    keep_freed_memory()
def faults_of(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.ones(16, 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults_of(20)  # until there is a gap large enough for the array and its alignment
print(faults_of(5))
"""


def has_setting() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


def has_small_pages() -> bool:
    """Where all pages are huge ones there are few of them, kept or not."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return not setting.exists() or "[always]" not in setting.read_text(encoding="ascii")


@pytest.mark.skipif(not has_setting(), reason="glibc alone has this setting")
@pytest.mark.skipif(not has_small_pages(), reason="pages are huge here")
def test_an_array_made_again_needs_no_new_pages() -> None:
    faults = {}
    for keep in (True, False):
        ran = subprocess.run(
            [sys.executable, "-c", PAGES.format(keep=keep)], check=True, capture_output=True, text=True, timeout=120
        )
        faults[keep] = int(ran.stdout)
    assert faults[True] < 1000 < faults[False]
