"""What a worker does with a job: reconstruct each row and write its result, whole or not at all."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import torch

from ctuq.archive import read_rows
from ctuq.batch_job import Job, Slice, SliceResult, reason_of
from ctuq.config import load_config
from ctuq.errors import InputError, ShortageError
from ctuq.figures import IMAGE_COLOURS, image_limits
from ctuq.jobs import repeating_command
from ctuq.memory_reuse import keep_freed_memory
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from ctuq.summary import summarise

_THUMBNAIL = 64  # pixels a side, at most


def reconstruct_slices(job: Job) -> Iterator[SliceResult]:
    """Reconstruct the rows of a job; one that fails does not stop the others."""
    torch.set_flush_denormal(True)  # as on the command line
    keep_freed_memory()  # likewise
    rows = {one.row: one for one in job.slices}
    first = job.slices[0]
    for row, scan in read_rows(first.source, list(rows), job.source_choice):
        began = time.perf_counter()
        try:
            result = _reconstruct_slice(scan, rows[row], job)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this row's failure
            lasting = isinstance(error, InputError) and not isinstance(error, ShortageError)
            result = SliceResult(row=row, reason=reason_of(error), lasting=lasting)
        yield replace(result, seconds=time.perf_counter() - began, host=socket.gethostname())


def _reconstruct_slice(scan: Scan | InputError, one: Slice, job: Job) -> SliceResult:
    if isinstance(scan, InputError):
        raise scan
    found = reconstruct(scan, load_config(job.config), seed=job.seed)
    command = repeating_command(
        one.source,
        choice=job.source_choice,
        config=job.config_file,
        overrides=job.overrides,
        row=one.row,
        seed=job.seed,
        device="auto",
    )
    found = replace(found, provenance=replace(found.provenance, command=command))
    _write(found, one.outputs(job.folder))
    summary, calibration = summarise(found), found.calibration
    return SliceResult(
        row=one.row,
        median_std=summary.median_std,
        chi_square=float(calibration.chi_square),
        coverage_95=float(calibration.coverage_95),
        calibrated=summary.verdict.calibrated,
        thumbnail=thumbnail(found),
    )


def _write(found: Reconstruction, outputs: tuple[Path, ...]) -> None:
    result, *pages = outputs
    result.parent.mkdir(exist_ok=True)
    # The pages first: where there is a result, all of it is there.
    for write, path in zip((found.picture, found.report), pages, strict=False):
        write(path)
    found.save(result, force=True)  # the manifest knows that the name is ours


def thumbnail(found: Reconstruction) -> bytes:
    """The image as WebP of at most 64 pixels a side, 2 kB at most; every n-th pixel of larger ones."""
    image = found.image.numpy()
    step = -(-max(image.shape) // _THUMBNAIL)
    low, high = image_limits(image)
    buffer = io.BytesIO()
    matplotlib.image.imsave(
        buffer, np.ascontiguousarray(image[::step, ::step]), vmin=low, vmax=high, cmap=IMAGE_COLOURS, format="webp"
    )
    return buffer.getvalue()
