"""What the benchmarks compare with is what it is said to be."""

from __future__ import annotations

import pytest
import torch

from dip import UNet, UNetSettings
from dip.metrics import joint_log_likelihood
from tests.benchmarks import mc_dropout
from tests.benchmarks.joint_likelihood import Spectrum, best_inflation, constant_log_likelihood
from tests.benchmarks.published_fit import SCHEDULES, published_network

SMALL = UNetSettings(channels=(8, 8), skip_channels=(2,), output="sigmoid")
FLOOR = 1e-5


def test_passes_differ_and_scatter_around_the_network_without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a network with leaky ReLUs is linear: dropout keeps the mean of what it is applied to."""
    monkeypatch.setattr(mc_dropout, "PROBABILITY", 0.01)
    generator = torch.Generator().manual_seed(0)
    network = mc_dropout.dropout_network(SMALL, generator=generator)
    z = torch.rand(1, 1, 12, 12, generator=generator)
    images = mc_dropout.passes(network, z, 2000)
    plain = UNet(SMALL, generator=generator)
    plain.load_state_dict(network.state_dict())
    expected = mc_dropout.passes(plain, z, 1)[0]
    deviation = images.std(dim=0)
    assert images[:-1].ne(images[1:]).any(dim=(1, 2)).double().mean() > 0.3  # 40 channels, 1 % each
    assert float(deviation.min()) > 0
    assert float(((images.mean(dim=0) - expected) / deviation).square().mean()) < 0.2**2


def test_share_of_channels_dropped_and_their_mean() -> None:
    drop = mc_dropout.ChannelDropout(0.05, generator=torch.Generator().manual_seed(0))
    dropped = drop(torch.nn.Identity(), (), torch.ones(100, 400, 2, 3))
    assert float((dropped == 0).double().mean()) == pytest.approx(0.05, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.005)
    assert bool((dropped == dropped[:, :, :1, :1]).all())


def test_the_published_network_and_its_schedule_for_every_setting() -> None:
    network = published_network(torch.Generator().manual_seed(0))
    assert sum(parameter.numel() for parameter in network.parameters()) == 76_905
    assert set(SCHEDULES) == {(angles, noise) for angles in (5, 10, 20, 30) for noise in (0.05, 0.1)}


def test_the_best_inflation_beats_others_and_reduces_to_the_constant() -> None:
    generator = torch.Generator().manual_seed(0)
    error = 0.1 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    root = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    spectrum = Spectrum.of(error, root @ root.mT)
    best = spectrum.log_likelihood(**best_inflation([spectrum], floor=FLOOR), floor=FLOOR)
    tried = [
        spectrum.log_likelihood(factor=factor, extra=extra, floor=FLOOR)
        for factor in (0.0, 0.003, 0.01, 1.0)
        for extra in (0.001, 0.01, 0.1)
    ]
    psnr = float(-10 * torch.log10(error.square().mean()))
    constant = constant_log_likelihood(psnr, floor=FLOOR)
    assert best >= max(*tried, constant) - 1e-6
    plain = Spectrum.of(error, torch.zeros(20, 20, dtype=torch.float64))
    assert plain.log_likelihood(extra=10 ** (-psnr / 10) - FLOOR, floor=FLOOR) == pytest.approx(constant)


def test_a_spectrum_has_the_density_of_its_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    root = torch.randn(20, 20, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT
    inflated = 2 * covariance + 0.1 * torch.eye(20, dtype=torch.float64)
    found = Spectrum.of(error, covariance).log_likelihood(factor=2, extra=0.1, floor=FLOOR)
    assert found == pytest.approx(joint_log_likelihood(error, inflated, floor=FLOOR))
    diagonal = Spectrum.of_diagonal(error, covariance).log_likelihood(floor=FLOOR)
    assert diagonal == pytest.approx(joint_log_likelihood(error, covariance.diagonal().diag(), floor=FLOOR))
