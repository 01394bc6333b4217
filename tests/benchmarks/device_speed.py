"""What a device can do at most: how fast it copies, and how fast it multiplies matrices in each precision."""

from __future__ import annotations

import functools

import torch

from tests.benchmarks.volume_projection import seconds

PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
_REPEATS = 5


def copy_bandwidth(device: str) -> float:
    """Bytes a second that are read and written while an array far larger than any cache is copied."""
    n = (1 << 31 if device == "cuda" else 1 << 28) // 4
    source = torch.ones(n, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * n / seconds(lambda: target.copy_(source), _REPEATS)


@functools.cache
def product_speed(device: str, precision: str) -> float:
    """FLOP a second of a product of square matrices; measured once a process.

    In float32 it says what full precision reaches, or, where somebody let TF32 in, what that does: see
    `float32_product_error`.

    Args:
        device: of the product.
        precision: one of `PRECISIONS`.
    """
    n = 8192 if device == "cuda" else 1024
    a, b = (_random(n, seed).to(device=device, dtype=PRECISIONS[precision]) for seed in (0, 1))
    return 2 * n**3 / seconds(lambda: a @ b, _REPEATS)


def float32_product_error(device: str) -> float:
    """Relative error of a product in float32: some 1e-6, and 3e-4 where inputs are rounded to TF32."""
    a, b = (_random(1024, seed).to(device) for seed in (0, 1))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())


def _random(n: int, seed: int) -> torch.Tensor:
    # Zeros would flatter a device that slows down with the power it draws.
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
