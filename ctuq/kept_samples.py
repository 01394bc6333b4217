"""Samples that are kept with a result: drawn block by block, and laid down in a file where they are large."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import torch
from rich.filesize import decimal
from torch import Tensor

from ctuq.errors import CtuqError
from dip import Posterior, Samples

_LARGE = 2**28  # bytes that memory is not asked for


def draw_kept(posterior: Posterior, n: int, *, block: int, generator: torch.Generator) -> Samples:
    """Draw n images, float32 on the CPU, of which no more than a block is in memory where all of them are large.

    Args:
        posterior: to draw from.
        n: images.
        block: drawn at a time.
        generator: of the draws.

    Raises:
        CtuqError: no room for them among the temporary files.
    """
    images = _room((n, *posterior.mean.shape))
    parts = []
    for start in range(0, n, block):
        part = posterior.sample(min(block, n - start), generator=generator)
        images[start : start + len(part.images)] = part.images.float().cpu()
        parts.append(part._replace(images=part.images[:0]))
    residuals = torch.cat([part.relative_residual for part in parts]).cpu()
    return Samples(images, residuals, parts[0].tolerance, max(part.passes for part in parts))


def _room(shape: tuple[int, ...]) -> Tensor:
    """In memory, or where that is too much in a temporary file, which is gone with the tensor."""
    n_bytes = 4 * math.prod(shape)
    if n_bytes <= _LARGE:
        return torch.empty(shape)
    handle, name = tempfile.mkstemp(prefix="ctuq-samples-")
    try:
        # Now, as a full disk would end the process when the samples are written.
        os.posix_fallocate(handle, 0, n_bytes)
        found: Tensor = torch.from_file(name, shared=True, size=math.prod(shape)).reshape(shape)
    except (OSError, RuntimeError) as error:  # the latter where it cannot be mapped
        why = error.strerror if isinstance(error, OSError) else error
        raise CtuqError(
            f"expected {decimal(n_bytes)} for {shape[0]} samples in {Path(name).parent}, but {why}: make room, name "
            "another folder (TMPDIR), or keep fewer (posterior.kept_samples)"
        ) from error
    finally:
        os.close(handle)
        Path(name).unlink()
    return found
