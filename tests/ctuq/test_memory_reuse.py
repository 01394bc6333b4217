"""Freed memory kept by the command line's process."""

from __future__ import annotations

import subprocess
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has this setting")
def test_an_array_made_again_needs_no_new_pages() -> None:
    faults = {}
    for keep in (True, False):
        ran = subprocess.run(
            [sys.executable, "-c", PAGES.format(keep=keep)], check=True, capture_output=True, text=True, timeout=120
        )
        faults[keep] = int(ran.stdout)
    assert faults[True] < 1000 < faults[False]
