from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dip import PretrainingSettings, UNet, UNetSettings, pretrain_network
from tests.dip.dense import generator

SHORT = PretrainingSettings(steps=60, batch=4, learning_rate=1e-2, bfloat16=False)


def pairs(n: int = 12) -> tuple[Tensor, Tensor]:
    """Squares somewhere, and blurred with noise."""
    images = torch.zeros(n, 1, 9, 10)
    for image, (row, col) in zip(images, torch.randint(0, 5, (n, 2), generator=generator(0)).tolist(), strict=True):
        image[0, row : row + 4, col : col + 4] = 1.0
    blurred = avg_pool2d(images, 3, stride=1, padding=1)
    return blurred + 0.1 * torch.randn(images.shape, generator=generator(1)), images


def trained(settings: PretrainingSettings = SHORT, *, output: Any = "linear", seed: int = 2) -> UNet:
    network = UNet(UNetSettings(channels=(4, 4), skip_channels=(2,), output=output), generator=generator(3))
    pretrain_network(network, *pairs(), settings=settings, generator=generator(seed))
    return network


def error(network: UNet) -> float:
    inputs, images = pairs()
    with torch.no_grad():
        return float((network(inputs) - images).square().mean().sqrt())


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_the_images_are_learned(output: str) -> None:
    inputs, images = pairs()
    assert error(trained(output=output)) < float((inputs - images).square().mean().sqrt())


def test_dark_images_do_not_kill_a_sigmoid() -> None:
    inputs, images = pairs()
    network = UNet(UNetSettings(channels=(4, 4), skip_channels=(2,), output="sigmoid"), generator=generator(3))
    steps = dataclasses.replace(SHORT, steps=200)
    pretrain_network(network, inputs / 2, images * 0.1, settings=steps, generator=generator(2))
    with torch.no_grad():
        assert float(network(inputs / 2).max()) > 0.05


def test_same_draws_same_weights() -> None:
    first, again, other = trained(), trained(), trained(seed=5)
    assert torch.equal(first.outward.weight, again.outward.weight)
    assert not torch.equal(first.outward.weight, other.outward.weight)


@pytest.mark.parametrize("steps", [1, 10, 31])
def test_it_tells_how_far_it_is(steps: int) -> None:
    told: list[tuple[int, int]] = []
    network = UNet(UNetSettings(channels=(2,), skip_channels=()), generator=generator(3))
    settings = dataclasses.replace(SHORT, steps=steps)
    pretrain_network(
        network,
        *pairs(),
        settings=settings,
        generator=generator(2),
        on_step=lambda done, total, _: told.append((done, total)),
    )
    assert told[-1] == (steps, steps)


def test_what_cannot_be_is_refused() -> None:
    inputs, images = pairs()
    with pytest.raises(ValueError, match="as many inputs as images, got 12 and 11"):
        pretrain_network(
            UNet(UNetSettings(), generator=generator(3)), inputs, images[1:], settings=SHORT, generator=generator(2)
        )
    with pytest.raises(FloatingPointError, match=r"pretraining\.learning_rate"):
        trained(dataclasses.replace(SHORT, learning_rate=1e20))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch": 0}, "batch must be"),
        ({"learning_rate": float("nan")}, "positive"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SHORT, **changes)
