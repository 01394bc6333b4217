from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from design import motor_order


def travel(angles: Sequence[float], present: float, *, endless: bool) -> float:
    steps = [abs(after - before) for before, after in itertools.pairwise([present, *angles])]
    if endless:
        steps = [min(step % (2 * math.pi), -step % (2 * math.pi)) for step in steps]
    return sum(steps)


@settings(max_examples=40, deadline=None)
@given(
    angles=st.lists(st.floats(-7, 7), max_size=6), present=st.floats(-7, 7), endless=st.booleans()
)  # fmt: skip
def test_no_order_travels_less(angles: list[float], present: float, *, endless: bool) -> None:
    order = motor_order(angles, present, endless=endless)
    assert sorted(order) == list(range(len(angles)))
    length = travel([angles[index] for index in order], present, endless=endless)
    best = min(travel(path, present, endless=endless) for path in itertools.permutations(angles))
    assert length <= best + 1e-9


@pytest.mark.parametrize(
    ("present", "endless", "expected"),
    [
        (0.0, True, [10, 40, 350]),
        (0.0, False, [10, 40, 350]),
        (30.0, True, [40, 10, 350]),
        (345.0, True, [350, 10, 40]),
    ],
)
def test_examples(present: float, endless: bool, expected: list[int]) -> None:
    degrees = [350, 40, 10]
    order = motor_order([math.radians(angle) for angle in degrees], math.radians(present), endless=endless)
    # From 0: 10 up, 40 up, then 50 back to 350; the other way round it is 10 down and 50 up.
    found = [degrees[index] for index in order]
    shortest = [expected] if (present, endless) != (0.0, True) else [expected, [350, 10, 40]]
    assert found in shortest
