from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dip import (
    NetworkJacobian,
    PriorKind,
    TotalVariationPrior,
    UNet,
    UNetSettings,
    WeightRoot,
    length_name,
    total_variation,
    weight_groups,
)
from tests.cases import network_jacobian
from tests.dip.dense import dense, generator

JACOBIAN = network_jacobian()
SENSITIVITY = torch.linspace(0.1, 3.0, JACOBIAN.in_shape[0], dtype=torch.float64)
KINDS: tuple[PriorKind, ...] = ("block", "filter-gp", "g-prior")


def prior(kind: PriorKind, rate: float = 0.3) -> TotalVariationPrior:
    return TotalVariationPrior(JACOBIAN, weight_groups(JACOBIAN, kind, sensitivity=SENSITIVITY), rate=rate)


def variances(kind: PriorKind) -> dict[str, float]:
    groups = weight_groups(JACOBIAN, kind, sensitivity=SENSITIVITY)
    numbers = enumerate(groups.items())
    values = {name: 0.2 + 0.3 * number for number, name in enumerate(groups)}
    return values | {length_name(name): 0.5 + 0.6 * n for n, (name, group) in numbers if group.correlated}


def images(kind: PriorKind, name: str, n: int) -> Tensor:
    """Drawn from one group's prior."""
    groups = weight_groups(JACOBIAN, kind, sensitivity=SENSITIVITY)
    only = variances(kind) | {other: 0.0 for other in groups if other != name}
    factor = dense(JACOBIAN) @ dense(WeightRoot(groups, only, JACOBIAN.weights()))
    draws = torch.randn(n, factor.shape[1], generator=generator(), dtype=torch.float64)
    return (draws @ factor.mT).reshape(n, *JACOBIAN.out_shape)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_total_variation_is_the_mean_over_prior_images(kind: PriorKind) -> None:
    for name, expected in prior(kind).expected(variances(kind)).items():
        drawn = torch.stack([total_variation(image[None, None]) for image in images(kind, name, 500)])
        assert abs(float(drawn.mean()) - expected) < 5 * float(drawn.std()) / math.sqrt(500)


@pytest.mark.parametrize("kind", KINDS)
def test_slope_is_a_finite_difference(kind: PriorKind) -> None:
    at, step = variances(kind), 1e-5
    _, slopes = prior(kind).log_density(at)
    assert set(slopes) == set(at)
    for name, slope in slopes.items():
        ends = [prior(kind).log_density(at | {name: at[name] * math.exp(h)})[0] for h in (step, -step)]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-8)


def test_it_is_a_density_of_the_logarithm_of_a_variance() -> None:
    one = prior("g-prior")
    logs = torch.linspace(-40, 20, 3001, dtype=torch.float64)
    density = torch.tensor([math.exp(one.log_density({"g": math.exp(x)})[0]) for x in logs.tolist()])
    assert float(torch.trapezoid(density.double(), logs)) == pytest.approx(1, abs=1e-6)


def test_the_highest_density_is_where_the_expected_variation_is_the_inverse_rate() -> None:
    one = prior("g-prior", rate=0.01)
    unit = one.expected({"g": 1.0})["g"]
    best = (100 / unit) ** 2
    assert one.log_density({"g": best})[1]["g"] == pytest.approx(0, abs=1e-12)


def test_a_group_that_moves_no_pixel_has_no_say() -> None:
    network = UNet(UNetSettings(channels=(2,), skip_channels=()), generator=generator()).double()
    torch.nn.init.zeros_(network.outward.weight)
    jacobian = NetworkJacobian(network, torch.ones(1, 1, 3, 4, dtype=torch.float64))
    groups = weight_groups(jacobian, "block", sensitivity=torch.ones(jacobian.in_shape))
    _, slopes = TotalVariationPrior(jacobian, groups, rate=1.0).log_density(dict.fromkeys(groups, 1.0))
    assert set(slopes) == {"outward"}


def test_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="rate must be positive, got 0"):
        prior("g-prior", rate=0.0)
