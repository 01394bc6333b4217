from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dip import NetworkJacobian, UNetSettings
from tests.cases import network_jacobian
from tests.dip.dense import dense, randn

NETWORKS = {
    "one-scale": UNetSettings(channels=(3,), skip_channels=()),
    "skips": UNetSettings(channels=(2, 3, 3), skip_channels=(1, 2)),
    "no-skip-then-skip": UNetSettings(channels=(2, 3, 2), skip_channels=(0, 2)),
    "group-norm": UNetSettings(channels=(4, 6), skip_channels=(2,), norm="group"),
    "sigmoid": UNetSettings(channels=(2, 3), skip_channels=(1,), output="sigmoid"),
}


def by_torch(jacobian: NetworkJacobian) -> Tensor:
    """(row · col, P) by torch's own reverse mode."""
    network = jacobian.network
    weights = {f"{name}.weight": c.weight.detach() for name, c in network.convolutions().items()}

    def image(changed: dict[str, Tensor]) -> Tensor:
        output: Tensor = torch.func.functional_call(network, changed, jacobian.network_input)
        return output.flatten()

    parts: dict[str, Tensor] = torch.func.jacrev(image)(weights)
    return torch.cat([parts[name].flatten(1) for name in weights], dim=1)


@pytest.mark.parametrize("shape", [(8, 8), (11, 14), (1, 5), (4, 4, 4), (3, 5, 6)])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_modes_are_torchs_jacobian(name: str, shape: tuple[int, ...]) -> None:
    jacobian = network_jacobian(shape=shape, settings=NETWORKS[name])
    expected = by_torch(jacobian)
    assert expected.shape == (math.prod(shape), jacobian.in_shape[0])
    torch.testing.assert_close(dense(jacobian), expected)
    unit = torch.eye(len(expected), dtype=torch.float64).reshape(-1, *shape)
    torch.testing.assert_close(jacobian.adjoint(unit), expected)


@pytest.mark.parametrize("batch", [1, 3, 7, 50])
def test_batching_changes_nothing(batch: int) -> None:
    whole, split = network_jacobian(batch=7), network_jacobian(batch=batch)
    x, y = randn(7, *whole.in_shape), randn(7, *whole.out_shape, seed=1)
    torch.testing.assert_close(split(x), whole(x))
    torch.testing.assert_close(split.adjoint(y), whole.adjoint(y))
    parts = list(split.pull_back(y))
    assert [len(next(iter(part.values()))) for part in parts] == [len(chunk) for chunk in torch.split(y, batch)]
    assert all(list(part) == list(split.layers()) for part in parts)


def test_weights_lie_layer_after_layer() -> None:
    jacobian = network_jacobian()
    weights, stop = jacobian.weights(), 0
    assert weights.shape == jacobian.in_shape
    for (name, convolution), (layer, where) in zip(
        jacobian.network.convolutions().items(), jacobian.layers().items(), strict=True
    ):
        assert (layer, where.start) == (name, stop)
        assert torch.equal(weights[where], convolution.weight.flatten())
        stop = where.stop
    assert stop == len(weights)


def test_the_network_is_left_as_it_was() -> None:
    jacobian = network_jacobian()
    frozen, *others = jacobian.network.parameters()
    frozen.requires_grad_(False)
    before = jacobian.network(jacobian.network_input)
    jacobian.adjoint(jacobian(randn(3, *jacobian.in_shape)))
    assert not frozen.requires_grad
    assert all(parameter.requires_grad and parameter.grad is None for parameter in others)
    assert torch.equal(jacobian.network(jacobian.network_input), before)


def test_a_floor_lifts_the_slope_of_saturated_pixels_alone() -> None:
    exact = network_jacobian(settings=NETWORKS["sigmoid"])
    with torch.no_grad():
        image = exact.network(exact.network_input)[0, 0]
    slope = image * (1 - image)
    floor = float(slope.median())
    lifted = NetworkJacobian(exact.network, exact.network_input, slope_floor=floor)
    expected = dense(exact) * (slope.clamp(min=floor) / slope).flatten()[:, None]
    torch.testing.assert_close(dense(lifted), expected)
    torch.testing.assert_close(lifted.adjoint(torch.eye(35, dtype=torch.float64).reshape(-1, 5, 7)), expected)


def test_batch_must_be_positive() -> None:
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        network_jacobian(batch=0)
