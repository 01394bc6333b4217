"""What the slices of a batch take of memory and disk, from shapes alone, and whether this machine has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.filesize import decimal

from ctuq.amount import amount
from ctuq.archive import Entry
from ctuq.available_memory import available_memory
from ctuq.batch_planning import Wishes
from ctuq.errors import InputError
from ctuq.preparation import estimate
from ctuq.scan import Scan
from operators import ImageGrid, ParallelBeam


@dataclass(frozen=True)
class Needs:
    """What the largest slice takes, and the largest block of them.

    Args:
        memory_bytes: of a worker, with the block in memory.
        disk_bytes: of a slice's files, at most.
        rows: of a block.
        seconds: of a slice, roughly; 0 where that cannot be told.
    """

    memory_bytes: int
    disk_bytes: int
    rows: int
    seconds: float

    def workers_that_fit(self, n_jobs: int) -> int:
        """As many as processors and memory allow, at least one, and no more than there are jobs."""
        fitting = available_memory() // max(self.memory_bytes, 1)
        return max(1, min(n_processors(), fitting, n_jobs))

    def require_room(self, out: Path, n_slices: int) -> None:
        """Say now whether the results of so many slices find room on a disk.

        Raises:
            InputError: they may not.
        """
        needed, free = n_slices * self.disk_bytes, shutil.disk_usage(out).free
        if needed > free:
            raise InputError(
                f"expected up to {decimal(needed)} for {amount(n_slices, 'result')} in {out}, but {decimal(free)} are "
                "free: make room, choose another --out, keep fewer samples (posterior.kept_samples), or do a part with "
                "--limit"
            )

    def lack_of_room(self, out: Path, n_workers: int) -> str:
        """What to tell when the next result of every worker might not find room on a disk; empty where it does."""
        needed, free = (n_workers + 1) * self.disk_bytes, shutil.disk_usage(out).free
        if needed <= free:
            return ""
        return f"the disk of {out} is all but full ({decimal(free)}): make room, then the same command goes on"


def n_processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needs(entries: Iterable[Entry], wishes: Wishes) -> Needs:
    """What the largest slice of these takes, from shapes alone; zeros where none can be told."""
    memory = disk = 0
    seconds = 0.0
    blocks: dict[tuple[int, int], tuple[int, int]] = {}  # rows and bytes by shape
    for entry in entries:
        if not entry.problem:
            shape, rows = (entry.n_views, entry.n_detectors), wishes.block_of(entry)
            blocks[shape] = max(blocks.get(shape, (1, 0)), (rows, entry.bytes_of(rows)))
    for (n_views, n_detectors), (_, held) in blocks.items():
        angles = np.linspace(0, np.pi, n_views, endpoint=False)
        geometry = ParallelBeam(grid=ImageGrid(shape=(1, 1), pixel_mm=1e-9), angles_rad=angles, n_detectors=n_detectors)
        stand_in = Scan(torch.zeros(geometry.sinogram_shape), geometry)
        try:
            cost = estimate(stand_in, wishes.config)
        except (InputError, ValueError, ZeroDivisionError):  # its slices will say what is wrong with them
            continue
        memory, seconds = max(memory, cost.memory_bytes + held), max(seconds, cost.seconds)
        config = wishes.config
        size = config.grid.size or n_detectors // (config.scan.detector_bin or 1)
        # Image, deviation, its error and samples in float32; rays and their covariances; picture and report.
        disk = max(disk, 4 * size**2 * (3 + config.posterior.kept_samples) + 28 * cost.n_rays + 9_000_000)
    return Needs(memory, disk, max((rows for rows, _ in blocks.values()), default=1), seconds)
