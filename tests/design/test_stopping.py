from __future__ import annotations

import math

import pytest

from design import StoppingRule


def test_each_limit_says_why() -> None:
    rule = StoppingRule(max_views=10, target_std=0.02, min_score=0.5)
    assert rule.reached(n_views=9, region_std=0.021) is None
    assert rule.reached(n_views=10, region_std=0.021) == "10 views are the 10 allowed"
    assert rule.reached(n_views=9, region_std=0.02) == "the deviation in the region, 0.02, is at its target of 0.02"
    assert rule.too_little(0.5) is None
    assert rule.too_little(0.49) == "the best view left promises 0.49, below 0.5"


def test_without_limits_nothing_stops() -> None:
    assert StoppingRule().reached(n_views=10**6, region_std=0.0) is None
    assert StoppingRule().too_little(0.0) is None


@pytest.mark.parametrize(
    "rule", [{"max_views": 0}, {"target_std": -1.0}, {"min_score": math.nan}, {"target_std": math.inf}]
)
def test_limits_are_positive_and_finite(rule: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(rule))} must be positive"):
        StoppingRule(**rule)  # type: ignore[arg-type]
