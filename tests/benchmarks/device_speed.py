"""What a device can do at most: how fast it copies, and how fast it multiplies matrices in each precision."""

from __future__ import annotations

import copy
import functools

import torch

from dip import NetworkJacobian, UNet, UNetSettings
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
    `jacobian_error`.

    Args:
        device: of the product.
        precision: one of `PRECISIONS`.
    """
    n = 8192 if device == "cuda" else 1024
    a, b = (_random(n, seed).to(device=device, dtype=PRECISIONS[precision]) for seed in (0, 1))
    return 2 * n**3 / seconds(lambda: a @ b, _REPEATS)


def jacobian_error(device: str) -> float:
    """Relative error of products with a U-Net's Jacobian and its adjoint, the larger one, in float32.

    Some 1e-6; 3e-4 where a device rounds what its convolutions are given to TF32.
    """
    network = UNet(UNetSettings(), generator=torch.Generator().manual_seed(0))
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    exact = NetworkJacobian(copy.deepcopy(network).double(), image.double())
    found = NetworkJacobian(network.to(device), image.to(device))
    x, y = (torch.randn(2, *shape, generator=torch.Generator().manual_seed(2)) for shape in (found.in_shape, (64, 64)))
    pairs = ((found(x.to(device)), exact(x.double())), (found.adjoint(y.to(device)), exact.adjoint(y.double())))
    return max(float((one.cpu().double() - other).norm() / other.norm()) for one, other in pairs)


def _random(n: int, seed: int) -> torch.Tensor:
    # Zeros would flatter a device that slows down with the power it draws.
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
