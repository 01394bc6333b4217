from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dip import NetworkJacobian, UNet, UNetSettings
from dip.local_pull_back import TOGETHER
from tests.dip.dense import dense, randn

# Small enough that a pixel of these images depends on a part of the input alone.
NETWORKS = {
    "one-scale": (UNetSettings(channels=(3,), skip_channels=()), (23, 30)),
    "skip": (UNetSettings(channels=(2, 3), skip_channels=(2,)), (41, 46)),
    "no-skip": (UNetSettings(channels=(2, 3), skip_channels=(0,)), (42, 45)),
    "sigmoid": (UNetSettings(channels=(2, 3), skip_channels=(1,), output="sigmoid"), (43, 44)),
    "three-scales": (UNetSettings(channels=(2, 2, 2), skip_channels=(0, 1)), (101, 102)),
    "volume": (UNetSettings(channels=(2,), skip_channels=()), (13, 14, 15)),
}


def jacobian_of(name: str) -> NetworkJacobian:
    settings, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    network = UNet(settings, generator=generator, dimensions=2 if len(shape) == 2 else 3).double()
    return NetworkJacobian(network, randn(1, 1, *shape), slope_floor=0.2)


def rays(shape: tuple[int, ...]) -> Tensor:
    """Lines through the image along both axes, its corners, and nothing."""
    lines = torch.zeros(5, *shape, dtype=torch.float64)
    lines[0, ..., 3] = randn(*shape[:-1]) * (torch.rand(shape[:-1], generator=torch.Generator().manual_seed(0)) < 0.9)
    lines[1, ..., -1, :] = randn(shape[-1])
    lines[(2, *(0 for _ in shape))] = 1.0
    lines[(3, *(-1 for _ in shape))] = -2.0
    return lines.repeat(2, *(1 for _ in shape))  # more than are taken together


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_transpose_of_the_jacobian(name: str) -> None:
    jacobian = jacobian_of(name)
    y = rays(jacobian.out_shape)
    assert len(y) > TOGETHER
    assert jacobian._local is not None
    assert jacobian._local.is_for(y)
    torch.testing.assert_close(jacobian.adjoint(y), y.flatten(1) @ dense(jacobian))


def test_layers_that_are_wanted() -> None:
    jacobian = jacobian_of("skip")
    y = rays(jacobian.out_shape)[:3]
    (parts,) = jacobian.pull_back(y, ["up.0.0", "outward"])
    assert list(parts) == ["up.0.0", "outward"]
    layers = jacobian.layers()
    whole = jacobian.adjoint(y)
    for name, part in parts.items():
        torch.testing.assert_close(part, whole[:, layers[name]])


def test_it_is_not_for_images_that_are_dense_or_small() -> None:
    jacobian = jacobian_of("skip")
    assert jacobian._local is not None
    assert not jacobian._local.is_for(torch.ones(2, *jacobian.out_shape, dtype=torch.float64))
    small = NetworkJacobian(jacobian.network, randn(1, 1, 12, 12))
    one = torch.zeros(1, 12, 12, dtype=torch.float64)
    one[0, 6, 6] = 1
    assert small._local is not None
    assert not small._local.is_for(one)


class _Doubled(UNet):
    def before_output(self, z: Tensor) -> Tensor:
        return 2 * super().before_output(z)


def test_networks_that_it_does_not_follow_are_left_alone() -> None:
    settings, generator = UNetSettings(channels=(3,), skip_channels=()), torch.Generator().manual_seed(0)
    normalised = UNet(UNetSettings(channels=(3,), skip_channels=(), norm="group"), generator=generator)
    changed = UNet(settings, generator=generator)
    changed.inward[1] = torch.nn.InstanceNorm2d(3)
    for network in (normalised, changed, _Doubled(settings, generator=generator)):
        jacobian = NetworkJacobian(network.double(), randn(1, 1, 20, 20))
        y = rays(jacobian.out_shape)[:3]
        torch.testing.assert_close(jacobian.adjoint(y), y.flatten(1) @ dense(jacobian))


def test_nothing_gives_nothing() -> None:
    jacobian = jacobian_of("skip")
    assert not jacobian.adjoint(torch.zeros(2, *jacobian.out_shape, dtype=torch.float64)).any()


def test_a_smaller_batch_takes_fewer_at_a_time() -> None:
    network = jacobian_of("skip").network
    y = rays((41, 46))
    for batch, sizes in ((1, [2] * 5), (2, [4, 4, 2]), (9, [8, 2])):
        jacobian = NetworkJacobian(network, randn(1, 1, 41, 46), batch=batch)
        assert [len(parts["outward"]) for parts in jacobian.pull_back(y)] == sizes
