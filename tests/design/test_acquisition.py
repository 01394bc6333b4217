from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from design import (
    ViewBelief,
    diagonal_information_gain,
    expected_squared_error,
    information_gain,
    information_gain_standard_error,
    region_gain,
)
from tests.design.scene import N_PIXELS, REGION, covariance, full, given, information, noise, views
from tests.dip.dense import positive_definite, randn

ALL = range(8)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("measured", [(), (3, 0)])
def test_scores_are_those_of_dense_matrices(seed: int, measured: tuple[int, ...]) -> None:
    belief = views(seed, measured=measured).belief(ALL, with_region=True)
    errors = noise(seed)
    image = given(full(covariance(seed)), list(measured), errors)
    for index in ALL:
        exact = information(image, [index], errors)
        assert float(information_gain(belief)[index]) == pytest.approx(exact, rel=1e-9)
        own = belief.covariance[index]
        assert float(expected_squared_error(belief)[index]) == pytest.approx(float(own.trace()), rel=1e-12)
        by_ray = 0.5 * float((1 + own.diagonal()).log().sum())
        assert float(diagonal_information_gain(belief)[index]) == pytest.approx(by_ray, rel=1e-12)
        after = given(full(covariance(seed)), [*measured, index], errors)
        fall = float((image - after).diagonal()[REGION.flatten()].sum())
        assert float(region_gain(belief)[index]) == pytest.approx(fall, rel=1e-9)


def test_a_single_ray_is_known_in_closed_form() -> None:
    belief = ViewBelief(torch.tensor([[[3.0]]], dtype=torch.float64), torch.tensor([[[2.0]]], dtype=torch.float64))
    assert float(information_gain(belief)) == pytest.approx(math.log(2))
    assert float(diagonal_information_gain(belief)) == pytest.approx(math.log(2))
    assert float(expected_squared_error(belief)) == pytest.approx(3)
    assert float(region_gain(belief)) == pytest.approx(1)
    assert float(information_gain_standard_error(belief)) == 0


@settings(max_examples=40, deadline=None)
@for_all(n=st.integers(1, 5), seed=st.integers(0, 50))
def test_rays_taken_for_independent_seem_to_say_more(n: int, seed: int) -> None:
    belief = ViewBelief(10 * positive_definite(n, seed=seed)[None])
    assert float(diagonal_information_gain(belief)) >= float(information_gain(belief)) - 1e-12


def test_a_gain_without_a_region_is_refused() -> None:
    with pytest.raises(ValueError, match="got a belief without one"):
        region_gain(views().belief(ALL))


N_DRAWS, N_TRIALS = 200, 400


def estimated(exact: Tensor, *, n_samples: float) -> ViewBelief:
    """The covariance from 200 draws, 400 times over."""
    draws = randn(N_TRIALS, N_DRAWS, len(exact), seed=7) @ torch.linalg.cholesky(exact).mT
    return ViewBelief(draws.mT @ draws / N_DRAWS, None, n_samples)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e4])
def test_information_from_draws_is_free_of_bias(size: float) -> None:
    exact = size * positive_definite(12, seed=3)
    truth = float(information_gain(ViewBelief(exact[None])))
    corrected = information_gain(estimated(exact, n_samples=N_DRAWS))
    standard_error = float(corrected.std()) / math.sqrt(N_TRIALS)
    # The next order is p³ / K² = 0.04 of which the expansion leaves a fraction; the bias taken away is 0.2 nats.
    assert abs(float(corrected.mean()) - truth) < 5 * standard_error + 2e-3
    if size == 1e4:
        plain = information_gain(estimated(exact, n_samples=math.inf))
        assert float(plain.mean()) - truth == pytest.approx(-12 * 13 / (4 * N_DRAWS), rel=0.1)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e4])
def test_information_from_draws_states_its_error(size: float) -> None:
    exact = size * positive_definite(12, seed=3)
    belief = estimated(exact, n_samples=N_DRAWS)
    stated = float(information_gain_standard_error(belief).mean())
    # A deviation from 400 trials is known to 3.5 %; the expansion is of first order in p / K = 0.06.
    assert float(information_gain(belief).std()) == pytest.approx(stated, rel=5 * 0.035)


def test_diagonal_information_from_draws_is_free_of_bias() -> None:
    exact = 5 * positive_definite(12, seed=3)
    truth = float(diagonal_information_gain(ViewBelief(exact[None])))
    found = diagonal_information_gain(estimated(exact, n_samples=N_DRAWS))
    assert abs(float(found.mean()) - truth) < 5 * float(found.std()) / math.sqrt(N_TRIALS) + 1e-3
    # Without the correction it would be 12 / 400 nats too small.
    plain = diagonal_information_gain(estimated(exact, n_samples=math.inf))
    assert float((found - plain).mean()) > 0.015


@settings(max_examples=40, deadline=None)
@for_all(seed=st.integers(0, 30), order=st.permutations(range(8)))
def test_information_is_submodular(seed: int, order: list[int]) -> None:
    few, more, extra = order[:1], order[:4], order[5]
    gains = [float(information_gain(views(seed, measured=tuple(known)).belief([extra]))) for known in (few, more)]
    assert gains[0] >= gains[1] - 1e-10


@settings(max_examples=40, deadline=None)
@for_all(seed=st.integers(0, 30), order=st.permutations(range(8)))
def test_information_of_a_set_is_the_sum_of_its_steps(seed: int, order: list[int]) -> None:
    steps = [float(information_gain(views(seed, measured=tuple(order[:n])).belief([order[n]]))) for n in range(3)]
    assert sum(steps) == pytest.approx(information(full(covariance(seed)), order[:3], noise(seed)), rel=1e-9)


def test_no_draws_are_needed_to_know_nothing() -> None:
    nothing = ViewBelief(torch.zeros(2, 3, 3, dtype=torch.float64), torch.zeros(2, 3, N_PIXELS, dtype=torch.float64))
    for score in (information_gain, diagonal_information_gain, expected_squared_error, region_gain):
        assert not score(nothing).any()
