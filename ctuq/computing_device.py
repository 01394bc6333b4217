"""Where to compute: the device that was asked for, whether its rays are right, and what to do when it is full."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from ctuq.config import Config
from ctuq.errors import CtuqError, InputError
from operators import LinearMap
from operators.testing import adjoint_error

_ROUNDING = 1e-10  # of products in float64, in whatever order a device sums
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
    """Compare the projections of a device with the CPU's, before anything rests on them.

    Raises:
        CtuqError: other values, or a pair that is no longer adjoint.
    """
    if torch.device(device).type == "cpu":
        return
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in (transform.in_shape, transform.out_shape)
    )
    expected = transform(x)
    wrong = float((transform(x.to(device)).cpu() - expected).norm() / expected.norm())
    unlike = adjoint_error(transform, x.to(device), y.to(device))
    if not max(wrong, unlike) <= _ROUNDING:  # NaN is not
        raise CtuqError(
            f"expected projections on {device} like those of the CPU, to {_ROUNDING:g}, got {wrong:.1e} in values "
            f"and {unlike:.1e} between them and their adjoint: update the driver and torch, or try --device cpu"
        )


def within_memory(work: Callable[[Config], _Result], config: Config) -> tuple[_Result, Config]:
    """Work with these settings, or with half as many images and draws at a time for as long as memory runs out.

    Args:
        work: that can be begun again.
        config: its settings.

    Returns:
        Its result, and the settings that it was reached with.

    Raises:
        CtuqError: out of memory with one image and one draw at a time too.
    """
    while True:
        try:
            return work(config), config
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = _halved(config)
            if smaller is None:
                raise out_of_memory(error) from error
        # What the failed attempt held is free once its traceback is.
        config = smaller
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch says so of a GPU by a type of its own, of the machine in words."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error)


def out_of_memory(error: BaseException) -> CtuqError:
    """What to tell the user."""
    said = (str(error) or "no more").splitlines()[0]
    return CtuqError(
        f"expected a reconstruction that fits into memory, but it ran out ({said}): try a smaller grid.size, fewer "
        "rays (scan.angle_step, scan.detector_bin), a smaller network (network.channels) or a smaller evidence.rows_gb"
    )


def _halved(config: Config) -> Config | None:
    """None where nothing is left to halve."""
    settings = config.posterior
    if settings.batch == settings.block == 1:
        return None
    fewer = replace(settings, batch=max(1, settings.batch // 2), block=max(1, settings.block // 2))
    return config.model_copy(update={"posterior": fewer})
