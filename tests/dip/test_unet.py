from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dip import UNet, UNetSettings
from tests.dip.dense import generator

SMALL = UNetSettings(channels=(2, 3, 3), skip_channels=(0, 2))
NORMALISED = UNetSettings(channels=(4, 6), skip_channels=(2,), norm="group")


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 21), cols=st.integers(1, 21), n_scales=st.integers(1, 5))
def test_every_image_size_comes_back(rows: int, cols: int, n_scales: int) -> None:
    shape = UNetSettings(channels=(2,) * n_scales, skip_channels=(1,) * (n_scales - 1))
    network = UNet(shape, generator=generator())
    assert network(torch.ones(2, 1, rows, cols)).shape == (2, 1, rows, cols)


def test_default_has_the_stated_number_of_weights() -> None:
    network = UNet(UNetSettings(), generator=generator())
    assert sum(convolution.weight.numel() for convolution in network.convolutions().values()) == 84_544


@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), n_scales=st.integers(1, 4))
def test_every_volume_size_comes_back(shape: tuple[int, int, int], n_scales: int) -> None:
    network = UNet(
        UNetSettings(channels=(2,) * n_scales, skip_channels=(1,) * (n_scales - 1)), generator=generator(), dimensions=3
    )
    assert network(torch.ones(2, 1, *shape)).shape == (2, 1, *shape)


def test_of_volumes_it_is_the_same_network_with_deeper_filters() -> None:
    flat, deep = (UNet(NORMALISED, generator=generator(), dimensions=n).convolutions() for n in (2, 3))
    assert list(flat) == list(deep)
    for name, convolution in flat.items():
        *channels, rows, cols = convolution.weight.shape
        assert deep[name].weight.shape == (*channels, *[rows] * 3)
        assert rows == cols


def test_of_a_volume_that_is_the_same_at_every_height_it_makes_what_the_flat_one_makes() -> None:
    flat, deep = (UNet(SMALL, generator=generator(), dimensions=n).double() for n in (2, 3))
    with torch.no_grad():
        for name, convolution in flat.convolutions().items():
            bias = torch.randn(len(convolution.weight), generator=generator(), dtype=torch.float64)
            wide = deep.convolutions()[name]
            convolution.weight.copy_(wide.weight.mean(2))
            wide.weight.copy_(wide.weight.mean(2, keepdim=True).expand_as(wide.weight) / wide.weight.shape[2])
            assert convolution.bias is not None
            assert wide.bias is not None
            convolution.bias.copy_(bias)
            wide.bias.copy_(bias)
    z = torch.randn(1, 1, 9, 10, generator=generator(1), dtype=torch.float64)
    made = deep(z[:, :, None].expand(-1, -1, 64, -1, -1))
    torch.testing.assert_close(made[:, :, 32], flat(z))


def test_same_generator_same_weights() -> None:
    first, again, other = (UNet(SMALL, generator=generator(seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["outward.weight"], other["outward.weight"])


@pytest.mark.parametrize("shape", [SMALL, NORMALISED])
def test_reset_is_a_fresh_start(shape: UNetSettings) -> None:
    network, fresh = (UNet(shape, generator=generator(seed)) for seed in (3, 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    network.reset(generator(4))
    assert all(torch.equal(network.state_dict()[name], value) for name, value in fresh.state_dict().items())


def test_initial_weights_have_the_variance_one_over_fan_in() -> None:
    for convolution in UNet(UNetSettings(), generator=generator()).convolutions().values():
        scaled = convolution.weight.detach().double() * math.sqrt(convolution.weight[0].numel())
        n = scaled.numel()
        assert abs(float(scaled.square().mean()) - 1) < 5 * math.sqrt(2 / n)
        assert abs(float(scaled.mean())) < 5 / math.sqrt(n)
        assert convolution.bias is not None
        assert not convolution.bias.any()


def test_sigmoid_keeps_the_image_between_0_and_1() -> None:
    linear, squashed = (
        UNet(UNetSettings(channels=(3,), skip_channels=(), output=output), generator=generator())
        for output in ("linear", "sigmoid")
    )
    z = 3 * torch.randn(1, 1, 9, 9, generator=generator(1))
    torch.testing.assert_close(squashed(z), torch.sigmoid(linear(z)))


def test_convolutions_are_listed_from_input_to_output_with_their_blocks() -> None:
    network = UNet(SMALL, generator=generator())
    blocks = [network.scale_of(name) for name in network.convolutions()]
    assert list(dict.fromkeys(blocks)) == ["inward", "down.0", "down.1", "skips.1", "up.0", "up.1", "outward"]
    assert [blocks.count(block) for block in ("inward", "down.1", "skips.1", "outward")] == [2, 2, 1, 1]


def test_the_scale_of_normalised_weights_changes_no_image() -> None:
    network = UNet(NORMALISED, generator=generator()).double()
    z = torch.randn(1, 1, 9, 11, generator=generator(1), dtype=torch.float64)
    before = network(z)
    with torch.no_grad():
        for convolution in network.convolutions().values():
            if tuple(convolution.kernel_size) == (3, 3):
                convolution.weight.mul_(3)
    torch.testing.assert_close(network(z), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n_skip", [0, 2])
def test_a_connection_carries_the_fine_features_across(n_skip: int) -> None:
    network = UNet(UNetSettings(channels=(2, 2), skip_channels=(n_skip,)), generator=generator())
    with torch.no_grad():
        for convolution in network.down.modules():
            if isinstance(convolution, torch.nn.Conv2d):
                convolution.weight.zero_()
    first, second = (network(torch.randn(1, 1, 8, 8, generator=generator(seed))) for seed in (1, 2))
    assert torch.equal(first, second) == (n_skip == 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ()}, "channels must be one positive number a scale"),
        ({"channels": (4, 0)}, "channels must be one positive number a scale"),
        ({"skip_channels": (1,)}, "skip_channels must be 2 numbers"),
        ({"skip_channels": (1, -1)}, "skip_channels must be 2 numbers"),
        ({"norm": "batch"}, "norm must be 'none' or 'group', got 'batch'"),
        ({"output": "tanh"}, "output must be 'linear' or 'sigmoid', got 'tanh'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetSettings(**changes)


def test_volumes_have_fewer_channels_unless_they_are_given() -> None:
    assert UNetSettings().channels_for(2) == (32, 32, 32)
    assert UNetSettings().channels_for(3) == (8, 8, 8)
    assert UNetSettings(channels=(2, 3), skip_channels=(1,)).channels_for(3) == (2, 3)
    network = UNet(UNetSettings(), generator=generator(), dimensions=3)
    assert sum(c.weight.numel() for c in network.convolutions().values()) == 16_672
