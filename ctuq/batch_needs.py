"""What the slices of a batch take of memory and disk, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ctuq.archive import Entry
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
