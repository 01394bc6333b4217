from __future__ import annotations

import pytest
import torch

from dip import UNet, UNetSettings
from dip.ensemble import Ensemble
from tests.dip.dense import generator


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7)], ids=["images", "volumes"])
def test_members_make_together_what_each_makes_alone(shape: tuple[int, ...], n_members: int) -> None:
    settings = UNetSettings(channels=(2, 3), skip_channels=(1,))
    networks = [
        UNet(settings, generator=generator(seed), dimensions=2 if len(shape) == 2 else 3) for seed in range(n_members)
    ]
    inputs = torch.randn(n_members, 1, 1, *shape, generator=generator(9))
    ensemble = Ensemble(networks)
    together = ensemble(inputs)
    assert together.shape == (n_members, *shape)
    for index, network in enumerate(networks):
        alone = network(inputs[index])[0, 0]
        torch.testing.assert_close(together[index], alone)
        torch.testing.assert_close(ensemble.member(index)(inputs[index])[0, 0], alone)


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_lie_as_is_asked_for_whatever_the_members_layout(channels_last: bool) -> None:
    network = UNet(UNetSettings(), generator=generator()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for member in (network, Ensemble([network]).member(0)):
        weights = Ensemble([member], channels_last=channels_last).parameters()
        kernels = [weight[0] for weight in weights if weight.ndim == 5]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)
