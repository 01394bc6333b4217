"""One check that every linear map must pass."""

from __future__ import annotations

# ruff: noqa: S101 (assertions are what this module is for)
import torch
from torch import Tensor

from operators.linear_map import LinearMap


def assert_linear_map(
    linear_map: LinearMap, *, generator: torch.Generator, dtype: torch.dtype = torch.float64, factor: float = 100.0
) -> None:
    """Check shapes, dtypes, batch axes, linearity and that the adjoint is the exact transpose.

    Args:
        linear_map: the map.
        generator: draws the inputs, on its device.
        dtype: of the inputs.
        factor: how many roundings of size eps (times the norms involved) are let pass.

    Raises:
        AssertionError: naming what does not hold, and by how much.
    """
    eps = factor * torch.finfo(dtype).eps
    x = torch.randn(2, 3, *linear_map.in_shape, generator=generator, dtype=dtype, device=generator.device)
    y = torch.randn(2, 3, *linear_map.out_shape, generator=generator, dtype=dtype, device=generator.device)
    forward, back = linear_map(x), linear_map.adjoint(y)
    assert forward.shape == y.shape, f"forward: expected shape {tuple(y.shape)}, got {tuple(forward.shape)}"
    assert back.shape == x.shape, f"adjoint: expected shape {tuple(x.shape)}, got {tuple(back.shape)}"
    assert (forward.dtype, back.dtype) == (dtype, dtype), f"expected {dtype}, got {forward.dtype} and {back.dtype}"
    error = adjoint_error(linear_map, x, y)
    assert error <= eps, f"adjoint is not the transpose: relative gap {error:.2e}, allowed {eps:.2e}"
    for name, apply, inputs, outputs in (
        ("forward", linear_map.__call__, x, forward),
        ("adjoint", linear_map.adjoint, y, back),
    ):
        _assert_close(f"{name}, one at a time,", apply(inputs[1, 2]), outputs[1, 2], eps)
        combined = apply(2.0 * inputs[0] - 3.0 * inputs[1])
        _assert_close(f"{name} of a linear combination", combined, 2.0 * outputs[0] - 3.0 * outputs[1], eps)


def adjoint_error(linear_map: LinearMap, x: Tensor, y: Tensor) -> float:
    """|<Ax, y> - <x, Aᵀy>| / max(|Ax| |y|, |x| |Aᵀy|), over all batch elements together; sums in float64."""
    x64, y64, forward, back = x.double(), y.double(), linear_map(x).double(), linear_map.adjoint(y).double()
    scale = max(float(forward.norm() * y64.norm()), float(x64.norm() * back.norm()))
    gap = abs(float((forward * y64).sum() - (x64 * back).sum()))
    return gap / scale if scale > 0 else gap


def _assert_close(what: str, got: Tensor, expected: Tensor, eps: float) -> None:
    scale = float(expected.norm())
    gap = float((got - expected).norm())
    assert gap <= eps * max(scale, torch.finfo(got.dtype).tiny), f"{what} differs by {gap:.2e} of {scale:.2e}"
