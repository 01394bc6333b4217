"""How much memory is left, of the machine or of a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def available_memory(device: str = "cpu", *, group: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory in bytes that may be taken: what the kernel estimates without swapping, or a container's limit leaves.

    Args:
        device: of a GPU it is what its driver calls free, and what torch holds there without using it.
        group: the control group's files; its `memory.current` counts files in cache, which the kernel would give up.
    """
    if torch.device(device).type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + unused
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        machine = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, StopIteration):  # no such limit, or "max"
        return machine
    return max(0, min(machine, limit - used + cached))
