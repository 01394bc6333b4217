from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dip import NetworkJacobian, UNet, UNetSettings
from tests.cases import CLASSIFIERS, classifier_jacobian, network_jacobian
from tests.dip.dense import dense, randn

NETWORKS = {
    "one-scale": UNetSettings(channels=(3,), skip_channels=()),
    "skips": UNetSettings(channels=(2, 3, 3), skip_channels=(1, 2)),
    "no-skip-then-skip": UNetSettings(channels=(2, 3, 2), skip_channels=(0, 2)),
    "group-norm": UNetSettings(channels=(4, 6), skip_channels=(2,), norm="group"),
    "sigmoid": UNetSettings(channels=(2, 3), skip_channels=(1,), output="sigmoid"),
}


def by_torch(jacobian: NetworkJacobian) -> Tensor:
    """(outputs, P) by torch's own reverse mode."""
    network = jacobian.network
    kinds = (nn.Conv2d, nn.Conv3d, nn.Linear)
    weights = {f"{name}.weight": m.weight.detach() for name, m in network.named_modules() if isinstance(m, kinds)}

    def image(changed: dict[str, Tensor]) -> Tensor:
        output: Tensor = torch.func.functional_call(network, changed, jacobian.network_input)
        return output.flatten()

    parts: dict[str, Tensor] = torch.func.jacrev(image)(weights)
    return torch.cat([parts[name].flatten(1) for name in weights], dim=1)


@pytest.mark.parametrize("n_inputs", [1, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_too(name: str, n_inputs: int) -> None:
    jacobian = classifier_jacobian(name, n_inputs=n_inputs)
    expected = by_torch(jacobian)
    assert expected.shape == (math.prod(jacobian.out_shape), *jacobian.in_shape)
    assert jacobian.out_shape == (n_inputs, 3)
    torch.testing.assert_close(dense(jacobian), expected)
    unit = torch.eye(len(expected), dtype=torch.float64).reshape(-1, *jacobian.out_shape)
    torch.testing.assert_close(jacobian.adjoint(unit), expected)


def test_outputs_are_the_networks_own_at_moved_weights() -> None:
    jacobian = classifier_jacobian("residual")
    torch.testing.assert_close(
        jacobian.outputs(torch.zeros(jacobian.in_shape)), jacobian.network(jacobian.network_input)
    )
    step = 1e-6 * randn(*jacobian.in_shape)
    change = jacobian.outputs(step) - jacobian.outputs(0 * step)
    torch.testing.assert_close(change, jacobian(step), rtol=1e-4, atol=1e-10)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.bend = nn.Linear(4, 4), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        again: Tensor = self.bend(self.layer(self.bend(self.layer(x))))
        return again


class _Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        once: Tensor = self.layer(x)
        return once


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (_Twice(), (2, 4), "layer must be called once in a pass, got a second call"),
        (_Unused(), (2, 4), "every module must take part in a pass, got none of other"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (2, 4), r"1 must not depend .*: try network.eval\(\)"),
        (nn.Sequential(nn.Linear(4, 4), nn.Dropout()), (2, 4), r"1 must not depend .*: try network.eval\(\)"),
        (
            nn.Sequential(nn.Linear(4, 4), nn.Flatten()),
            (2, 3, 4),
            r"must have vectors \(inputs, features\) as its input, got \(2, 3, 4\)",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten()),
            (2, 2, 3, 3),
            "0 must be a convolution with groups=1",
        ),
        (nn.Conv2d(1, 1, 1), (2, 1, 3, 3), r"must give \(inputs, outputs\), one image or volume, got \(2, 1, 3, 3\)"),
    ],
)
def test_networks_of_another_kind_are_refused(network: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkJacobian(network, torch.zeros(shape))


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
    assert isinstance(jacobian.network, UNet)
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


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_images_that_are_zero_but_for_a_few_pixels_are_pulled_back_alike(pixels: int) -> None:
    """Positions that nothing reaches are left out, which must not change a number but for the order of sums."""
    jacobian = network_jacobian(shape=(24, 26), settings=NETWORKS["no-skip-then-skip"])
    images = torch.zeros(3, 24, 26, dtype=torch.float64)
    images[:, 5, 7 : 7 + pixels] = randn(3, pixels)
    rest = randn(3, 24, 26, seed=2)
    found = jacobian.adjoint(images)
    torch.testing.assert_close(found, jacobian.adjoint(images + rest) - jacobian.adjoint(rest))
    images[0, 0, 0] = torch.nan
    assert not jacobian.adjoint(images).isfinite().all()
