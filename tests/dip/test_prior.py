from __future__ import annotations

from typing import cast

import pytest
import torch

from dip import NetworkPrior, PriorKind, weight_groups
from tests.cases import network_jacobian, network_prior
from tests.dip.dense import dense, randn


def test_covariance_is_the_networks_and_the_pixels_own() -> None:
    jacobian = network_jacobian()
    variance = randn(*jacobian.in_shape).square()
    prior = NetworkPrior(jacobian, variance, 0.3)
    matrix = dense(jacobian)
    expected = matrix @ torch.diag(variance) @ matrix.mT + 0.3 * torch.eye(len(matrix), dtype=torch.float64)
    torch.testing.assert_close(prior.covariance(), expected)
    torch.testing.assert_close(dense(prior) @ dense(prior).mT, expected)


def test_latent_vector_is_weights_then_pixels() -> None:
    prior = network_prior()
    (n_weights,) = prior.jacobian.in_shape
    assert prior.in_shape == (n_weights + 35,)
    pixels = torch.zeros(prior.in_shape, dtype=torch.float64)
    pixels[n_weights + 8] = 1.0
    expected = torch.zeros(5, 7, dtype=torch.float64)
    expected[1, 1] = 0.3**0.5
    torch.testing.assert_close(prior(pixels), expected)


def test_isotropic_is_one_group_and_blocks_are_the_networks_stages() -> None:
    jacobian = network_jacobian()
    every = torch.arange(jacobian.in_shape[0])
    isotropic = weight_groups(jacobian, "isotropic")
    assert list(isotropic) == ["all"]
    assert torch.equal(isotropic["all"], every)
    blocks = weight_groups(jacobian, "block")
    assert list(blocks) == ["inward", "down.0", "skips.0", "up.0", "outward"]
    assert torch.equal(torch.cat(list(blocks.values())).sort().values, every)
    for name, where in jacobian.layers().items():
        assert torch.isin(every[where], blocks[jacobian.network.scale_of(name)]).all()


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="prior kind must be 'isotropic' or 'block', got 'layer'"):
        weight_groups(network_jacobian(), cast("PriorKind", "layer"))
