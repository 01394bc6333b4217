from __future__ import annotations

import math

import pytest
import scipy.stats

from dip import LogNormal, LogNormalPrior


def test_density_is_the_log_normals_up_to_a_constant_and_the_slope_its_derivative() -> None:
    prior = LogNormal(median=3.0, spread=0.7)

    def reference(log: float) -> float:
        return float(scipy.stats.norm.logpdf(log, math.log(3.0), 0.7))

    for value in (0.01, 3.0, 40.0):
        density, slope = prior.log_density(value)
        assert density - prior.log_density(1.0)[0] == pytest.approx(reference(math.log(value)) - reference(0.0))
        step = 1e-6
        numeric = (reference(math.log(value) + step) - reference(math.log(value) - step)) / (2 * step)
        assert slope == pytest.approx(numeric, abs=1e-6)


def test_variances_without_a_prior_of_their_own_are_left_alone() -> None:
    prior = LogNormalPrior({"a": LogNormal(1.0, 1.0), "b": LogNormal(2.0, 0.5)})
    value, slopes = prior.log_density({"a": 2.0, "b": 1.0, "noise": 7.0})
    assert set(slopes) == {"a", "b"}
    assert value == pytest.approx(LogNormal(1.0, 1.0).log_density(2.0)[0] + LogNormal(2.0, 0.5).log_density(1.0)[0])
