from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dip import NetworkJacobian, PriorKind, UNet, UNetSettings, WeightRoot, length_name, weight_groups
from dip.filter_covariance import DISTANCES, LENGTH_BOUNDS, correlations, tap_pairs, tap_root
from operators.testing import assert_linear_map
from tests.cases import classifier_jacobian, network_jacobian
from tests.dip.dense import dense, generator

KINDS: tuple[PriorKind, ...] = ("isotropic", "layer", "block", "filter-gp", "g-prior")
SENSITIVITY = torch.linspace(0.1, 3.0, network_jacobian().in_shape[0], dtype=torch.float64)


def without_filters() -> NetworkJacobian:
    network = UNet(UNetSettings(channels=(2,), skip_channels=()), generator=generator())
    network.inward = nn.Sequential(nn.Conv2d(1, 2, 1), nn.LeakyReLU())
    return NetworkJacobian(network.double(), torch.ones(1, 1, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_in_one_group(kind: PriorKind) -> None:
    groups = weight_groups(network_jacobian(), kind, sensitivity=SENSITIVITY)
    every = torch.cat([group.index for group in groups.values()])
    assert torch.equal(every.sort().values, torch.arange(len(SENSITIVITY)))


def test_groups_are_the_whole_the_layers_or_the_networks_stages() -> None:
    jacobian = network_jacobian()
    names = {kind: list(weight_groups(jacobian, kind, sensitivity=SENSITIVITY)) for kind in KINDS}
    stages = ["inward", "down.0", "skips.0", "up.0", "outward"]
    assert names == {
        "isotropic": ["all"],
        "layer": list(jacobian.layers()),
        "block": stages,
        "filter-gp": stages,
        "g-prior": ["g"],
    }
    blocks = weight_groups(jacobian, "block", sensitivity=SENSITIVITY)
    assert isinstance(jacobian.network, UNet)
    for name, where in jacobian.layers().items():
        inside = blocks[jacobian.network.scale_of(name)].index
        assert torch.isin(torch.arange(where.start, where.stop), inside).all()


def test_only_3x3_filters_are_correlated() -> None:
    groups = weight_groups(network_jacobian(), "filter-gp", sensitivity=SENSITIVITY)
    assert [name for name, group in groups.items() if group.correlated] == ["inward", "down.0", "up.0"]


def test_g_prior_gives_every_seen_weight_the_same_effect_on_the_rays() -> None:
    sensitivity = SENSITIVITY.clone()
    sensitivity[:2] = 0.0
    std = weight_groups(network_jacobian(), "g-prior", sensitivity=sensitivity)["g"].relative_std
    torch.testing.assert_close(std[2:], sensitivity[2:].rsqrt())
    torch.testing.assert_close(std[:2], 100 * sensitivity.mean().rsqrt().expand(2))
    nothing = weight_groups(network_jacobian(), "g-prior", sensitivity=torch.zeros_like(sensitivity))["g"]
    assert torch.equal(nothing.relative_std, torch.ones_like(sensitivity))


def test_filter_gp_without_3x3_filters_names_the_alternative() -> None:
    with pytest.raises(ValueError, match="'filter-gp' needs 3x3 convolutions, and this network has none: try 'block'"):
        weight_groups(without_filters(), "filter-gp", sensitivity=SENSITIVITY)


def test_normalised_and_free_weights_never_share_a_variance() -> None:
    settings = UNetSettings(channels=(2, 3), skip_channels=(1,), norm="group")
    jacobian = network_jacobian(settings=settings)
    with pytest.raises(ValueError, match=r"'isotropic' gives normalised weights.*: try 'block' or 'g-prior'"):
        weight_groups(jacobian, "isotropic", sensitivity=SENSITIVITY)
    assert isinstance(jacobian.network, UNet)
    free = {name for name, c in jacobian.network.convolutions().items() if tuple(c.kernel_size) == (1, 1)}
    others: tuple[PriorKind, ...] = ("layer", "block", "filter-gp")
    for kind in others:
        for group in weight_groups(jacobian, kind, sensitivity=SENSITIVITY).values():
            inside = {
                name in free
                for name, where in jacobian.layers().items()
                if torch.isin(torch.arange(where.start, where.stop), group.index).any()
            }
            assert len(inside) == 1


def test_unknown_kind_is_named() -> None:
    unknown: Any = "layered"
    with pytest.raises(ValueError, match=r"prior kind must be one of \('isotropic', .*got 'layered'"):
        weight_groups(network_jacobian(), unknown, sensitivity=SENSITIVITY)


@settings(max_examples=30, deadline=None)
@given(length=st.floats(*LENGTH_BOUNDS))
def test_taps_are_correlated_exponentially_in_their_distance(length: float) -> None:
    root = tap_root(length)
    places = list(itertools.product(range(3), repeat=2))
    expected = torch.tensor(
        [[math.exp(-math.dist(a, b) / length) for b in places] for a in places], dtype=torch.float64
    )
    torch.testing.assert_close(root @ root.mT, expected)
    by_distance = torch.tensor(correlations(length), dtype=torch.float64)[:, None, None] * tap_pairs()
    torch.testing.assert_close(by_distance.sum(0), expected)
    assert len(set(DISTANCES)) == 6


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(KINDS), variance=st.floats(1e-6, 1e6), length=st.floats(*LENGTH_BOUNDS))
def test_root_is_a_linear_map_with_an_exact_adjoint(kind: PriorKind, variance: float, length: float) -> None:
    jacobian = network_jacobian()
    groups = weight_groups(jacobian, kind, sensitivity=SENSITIVITY)
    variances = dict.fromkeys(groups, variance) | {length_name(name): length for name in groups}
    assert_linear_map(WeightRoot(groups, variances, jacobian.weights()), generator=generator())


def test_filters_are_drawn_from_their_covariance_and_apart_from_each_other() -> None:
    jacobian = network_jacobian()
    groups = weight_groups(jacobian, "filter-gp", sensitivity=SENSITIVITY)
    variances = dict.fromkeys(groups, 2.0) | {length_name(name): 1.5 for name in groups}
    root = dense(WeightRoot(groups, variances, jacobian.weights()))
    tap = tap_root(1.5)
    where = jacobian.layers()["down.0.2"]
    block = (root @ root.mT)[where, where]
    n_filters = (where.stop - where.start) // 9
    torch.testing.assert_close(block, 2.0 * torch.kron(torch.eye(n_filters, dtype=torch.float64), tap @ tap.mT))
    outward = jacobian.layers()["outward"]
    torch.testing.assert_close((root @ root.mT)[outward, outward], 2.0 * torch.eye(2, dtype=torch.float64))


def test_groups_of_another_network_are_its_layers_or_the_modules_it_is_put_together_of() -> None:
    jacobian = classifier_jacobian("residual")
    sensitivity = torch.ones(jacobian.in_shape, dtype=torch.float64)
    assert list(weight_groups(jacobian, "layer", sensitivity=sensitivity)) == ["inner.0", "around", "head"]
    groups = weight_groups(jacobian, "block", sensitivity=sensitivity)
    assert {name: len(group.index) for name, group in groups.items()} == {"inner": 72, "around": 8, "head": 12}
    with pytest.raises(ValueError, match="'isotropic' gives normalised weights"):
        weight_groups(jacobian, "isotropic", sensitivity=sensitivity)
