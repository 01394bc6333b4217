from __future__ import annotations

import pytest
import torch

from dip import NetworkPrior, PriorKind, WeightRoot, weight_groups
from tests.cases import network_jacobian, network_prior
from tests.dip.dense import dense, randn


def test_covariance_is_the_networks_and_the_pixels_own() -> None:
    jacobian = network_jacobian()
    sensitivity = 1 + randn(*jacobian.in_shape).square()
    root = WeightRoot(weight_groups(jacobian, "g-prior", sensitivity=sensitivity), {"g": 0.6}, jacobian.weights())
    prior, matrix = NetworkPrior(jacobian, root, 0.3), dense(jacobian)
    expected = matrix @ torch.diag(0.6 / sensitivity) @ matrix.mT + 0.3 * torch.eye(len(matrix), dtype=torch.float64)
    torch.testing.assert_close(prior.covariance(), expected)
    torch.testing.assert_close(dense(prior) @ dense(prior).mT, expected)


@pytest.mark.parametrize("kind", ["isotropic", "layer", "block", "filter-gp", "g-prior"])
def test_covariance_is_the_factors_square(kind: PriorKind) -> None:
    prior = network_prior(kind=kind)
    torch.testing.assert_close(prior.covariance(), dense(prior) @ dense(prior).mT)


def test_latent_vector_is_weights_then_pixels() -> None:
    prior = network_prior()
    (n_weights,) = prior.jacobian.in_shape
    assert prior.in_shape == (n_weights + 35,)
    pixels = torch.zeros(prior.in_shape, dtype=torch.float64)
    pixels[n_weights + 8] = 1.0
    expected = torch.zeros(5, 7, dtype=torch.float64)
    expected[1, 1] = 0.3**0.5
    torch.testing.assert_close(prior(pixels), expected)
