"""Where to compute: the device that was asked for, whether its rays are right, and what to do when it is full."""

from __future__ import annotations

import contextlib
import gc
import itertools
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from ctuq.config import Config
from ctuq.errors import CtuqError, InputError
from operators import LinearMap
from operators.testing import adjoint_error

# Of products, in whatever order a device sums. TF32, or a wrong kernel, is further off.
_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5}
_BLOCK = 64  # draws, beyond which large images take no more together whatever is asked for
_ATTEMPTS = 4  # an eighth of a batch, at the last
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
_Result = TypeVar("_Result")


def resolve_device(name: str) -> str:
    """The device of torch that auto, cpu or cuda stands for: auto is the CPU until a GPU has been measured.

    Raises:
        InputError: cuda was asked for, and torch can use none.
    """
    if name != "cuda":
        return "cpu"
    if not torch.cuda.is_available():
        reason = "no driver or no GPU" if torch.version.cuda else "a build of torch for the CPU only"
        raise InputError(
            f"expected a CUDA device that torch can use with --device cuda, got none ({reason}): try --device cpu, or "
            "see what ctuq doctor says"
        )
    return "cuda"


def require_right_rays(transform: LinearMap, device: str) -> None:
    """Compare the projections of a device with the CPU's, before a fit rests on them.

    One image and two at a time, which are other products of sparse matrices, in both precisions.

    Raises:
        CtuqError: other values, or a pair that is no longer adjoint.
    """
    if torch.device(device).type == "cpu":
        return
    generator = torch.Generator().manual_seed(0)
    for batch, (dtype, rounding) in itertools.product((1, 2), _ROUNDING.items()):
        x, y = (
            torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(dtype)
            for shape in (transform.in_shape, transform.out_shape)
        )
        expected = transform(x.double())
        wrong = float((transform(x.to(device)).cpu().double() - expected).norm() / expected.norm())
        unlike = adjoint_error(transform, x.to(device), y.to(device))
        if not (wrong <= rounding and unlike <= rounding):  # NaN is not
            raise CtuqError(
                f"expected projections on {device} like those of the CPU, to {rounding:g} in {dtype}, got {wrong:.1e} "
                f"in values and {unlike:.1e} between them and their adjoint: update the driver and torch, or try "
                "--device cpu"
            )


def within_memory(work: Callable[[Config], _Result], config: Config) -> tuple[_Result, Config]:
    """Work with these settings, or with half as much at a time for as long as memory runs out, but a few times.

    Args:
        work: that can be begun again.
        config: its settings; `posterior.batch`, `posterior.block` and `evidence.rows_gb` are halved.

    Returns:
        Its result, and the settings that it was reached with.

    Raises:
        CtuqError: out of memory the last time too.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return work(config), config
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # What the failed attempt held is free now, as its traceback is.
        config = _halved(config)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    with memory_told():
        return work(config), config


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Turn running out of memory into advice.

    Raises:
        CtuqError: memory ran out inside.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # Who keeps the error must not keep what filled the memory.
        traceback.clear_frames(error.__traceback__)
        said = (str(error) or "no more").splitlines()[0]
        raise CtuqError(
            f"expected a reconstruction that fits into memory, but it ran out ({said}): try a smaller grid.size, fewer "
            "rays (scan.angle_step, scan.detector_bin), a smaller network (network.channels) or a smaller "
            "evidence.rows_gb"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by a type of its own, or by what torch and CUDA's libraries say."""
    said = str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in said for words in _WORDS)


def _halved(config: Config) -> Config:
    posterior, evidence = config.posterior, config.evidence
    fewer = replace(posterior, batch=max(1, posterior.batch // 2), block=max(1, min(posterior.block, _BLOCK) // 2))
    update = {"posterior": fewer, "evidence": replace(evidence, rows_gb=evidence.rows_gb / 2)}
    return config.model_copy(update=update)
