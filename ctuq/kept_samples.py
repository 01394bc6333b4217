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
from dip import Posterior, Samples, VarianceEstimate

_AT_A_TIME = 32
_LARGE = 2**28  # bytes that memory is not asked for


def variance_and_samples(
    posterior: Posterior, n: int, *, draws: torch.Generator, further: torch.Generator
) -> tuple[VarianceEstimate, Samples]:
    """The variance, and n images, float32 on the CPU: the first drawn for it, and others where those are fewer.

    No more than a block is in memory where all of them are large.

    Args:
        posterior: to draw from.
        n: images.
        draws: generator of those behind the variance.
        further: generator of the others.

    Raises:
        CtuqError: no room for the images among the temporary files.
    """
    images, residuals = _room((n, *posterior.mean.shape)), torch.full((n,), math.nan, dtype=torch.float64)
    have, tolerance, passes = 0, 0.0, 0

    def keep(drawn: Samples) -> None:
        nonlocal have, tolerance, passes
        size = min(len(drawn.images), n - have)
        images[have : have + size] = drawn.images[:size].float().cpu()
        residuals[have : have + size] = drawn.relative_residual[:size].cpu()
        have, tolerance, passes = have + size, drawn.tolerance, max(passes, drawn.passes)

    estimate = posterior.variance(generator=draws, on_draws=keep)
    while have < n:
        keep(posterior.sample(min(_AT_A_TIME, n - have), generator=further))
    return estimate, Samples(images, residuals, tolerance, passes)


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
