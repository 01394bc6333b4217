"""Orders to compare planning with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ctuq.view_sequences import at_random, equidistant, golden

HALF_TURN = np.radians(np.arange(0, 180, 1.0)).tolist()
FULL_TURN = np.radians(np.arange(0, 360, 4.0)).tolist()


def gaps(angles: list[float], views: list[int]) -> list[float]:
    """Between neighbours modulo half a turn, in degrees."""
    places = sorted(math.degrees(angles[view]) % 180 for view in views)
    return [after - before for before, after in itertools.pairwise([*places, places[0] + 180])]


@pytest.mark.parametrize("n_views", [5, 10, 20])
def test_every_doubling_of_equidistant_views_is_equidistant(n_views: int) -> None:
    views = equidistant(HALF_TURN, 5, 20)[:n_views]
    assert max(gaps(HALF_TURN, views)) - min(gaps(HALF_TURN, views)) <= 2
    assert equidistant(HALF_TURN, 5, n_views) == views


def test_further_equidistant_views_spread_instead_of_filling_up_one_side() -> None:
    views = equidistant(HALF_TURN, 4, 6)
    apart = abs(HALF_TURN[views[4]] - HALF_TURN[views[5]])
    assert math.degrees(apart) == pytest.approx(90, abs=2)


def test_a_full_turn_never_looks_from_behind_before_all_directions_are_seen() -> None:
    views = equidistant(FULL_TURN, 5, 45)
    assert min(gaps(FULL_TURN, views)) == pytest.approx(4)


def test_golden_steps_are_taken_at_the_nearest_view_without_repeats() -> None:
    views = golden(HALF_TURN, 180)
    assert sorted(views) == list(range(180))
    wanted = [number * 111.246118 % 180 for number in range(8)]
    assert [math.degrees(HALF_TURN[view]) for view in views[:8]] == pytest.approx(wanted, abs=1)


def test_random_orders_are_the_generators() -> None:
    def draw(seed: int) -> list[int]:
        return at_random(FULL_TURN, 20, generator=torch.Generator().manual_seed(seed))

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(1))) == 20
