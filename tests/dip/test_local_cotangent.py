from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from dip.local_cotangent import Doubling, LocalCotangent, Neighbours
from tests.dip.dense import randn

SHAPES = [(7, 10), (4, 5, 6)]


def some(shape: tuple[int, ...], channels: int, *, share: float, seed: int) -> tuple[LocalCotangent, Tensor]:
    """Two cotangents that are zero at most positions, and the same dense: (2, channels, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand(math.prod(shape), generator=generator) < share
    dense = torch.where(there, randn(2, channels, len(there), seed=seed), 0.0)
    positions = torch.nonzero(there)[:, 0]
    return LocalCotangent(positions, dense[..., positions].movedim(1, 2), shape), dense.reshape(2, channels, *shape)


def spread(cotangent: LocalCotangent) -> Tensor:
    """Dense, (n, channels, *shape)."""
    n, _, channels = cotangent.values.shape
    dense = cotangent.values.new_zeros(n, math.prod(cotangent.shape), channels)
    dense[:, cotangent.positions] = cotangent.values
    return dense.movedim(1, 2).reshape(n, channels, *cotangent.shape)


@settings(deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_backwards(
    shape: tuple[int, ...], kernel: int, stride: int, padding: int, dilation: int, share: float, seed: int
) -> None:
    kind = nn.Conv2d if len(shape) == 2 else nn.Conv3d
    if dilation * (kernel - 1) + 1 > min(shape) + 2 * padding:
        kernel, dilation = 2, 1
    module = kind(3, 2, kernel, stride=stride, padding=padding, dilation=dilation, bias=False).double()
    x = torch.zeros(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    output = module(x)
    cotangent, dense = some(tuple(output.shape[2:]), 2, share=share, seed=seed)
    (expected,) = torch.autograd.grad(output, x, dense)
    neighbours = Neighbours.of_convolution(module, shape, output.shape[2:])
    found = neighbours.adjoint(module.weight.detach(), cotangent)
    torch.testing.assert_close(spread(found), expected)
    assert bool((found.positions[1:] > found.positions[:-1]).all())


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(1, 3), *SHAPES])
def test_a_doubling_backwards(shape: tuple[int, ...], share: float) -> None:
    x = torch.zeros(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    output = functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    cotangent, dense = some(tuple(output.shape[2:]), 3, share=share, seed=1)
    (expected,) = torch.autograd.grad(output, x, dense)
    torch.testing.assert_close(spread(Doubling(shape, x.detach()).adjoint(cotangent)), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_done_position_by_position(shape: tuple[int, ...]) -> None:
    (a, dense_a), (b, dense_b) = (some(shape, 3, share=0.3, seed=seed) for seed in (1, 2))
    torch.testing.assert_close(spread(a + b), dense_a + dense_b)
    slopes = randn(math.prod(shape), 3)
    torch.testing.assert_close(spread(a.times(slopes)), dense_a * slopes.mT.reshape(3, *shape))
    torch.testing.assert_close(spread(a.channels(slice(1, 3))), dense_a[:, 1:])
    larger = [n + extra for extra, n in enumerate(shape)]
    padding = [pad for extra in reversed(range(len(shape))) for pad in (0, extra)]
    torch.testing.assert_close(spread(a.enlarged(larger)), functional.pad(dense_a, padding))
    assert a.share == float((dense_a != 0).any(dim=1).any(dim=0).double().mean())


def test_of_images() -> None:
    _, dense = some((7, 10), 1, share=0.2, seed=0)
    torch.testing.assert_close(spread(LocalCotangent.of_images(dense[:, 0])), dense)
