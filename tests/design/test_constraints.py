from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from design import Candidates, Constraints, Cost, Wedge
from operators import FanBeam, ImageGrid, ParallelBeam

GRID = ImageGrid(shape=(3, 3))
TENTHS = [math.radians(10 * step) for step in range(36)]
PARALLEL = Candidates(ParallelBeam(grid=GRID, angles_rad=TENTHS, n_detectors=3))
FAN = Candidates(
    FanBeam(
        grid=GRID, angles_rad=TENTHS, n_detectors=3, pitch_mm=1.0, source_origin_mm=20.0, origin_detector_mm=0.0
    )
)  # fmt: skip


def forbidden(candidates: Candidates, constraints: Constraints, taken: tuple[float, ...] = ()) -> list[int]:
    """Degrees that are not allowed."""
    allowed = constraints.allowed(candidates, [math.radians(angle) for angle in taken])
    return [10 * index for index in range(36) if not allowed[index]]


def wedge(start: float, stop: float) -> Constraints:
    return Constraints(forbidden=(Wedge(math.radians(start), math.radians(stop)),))


def test_without_constraints_all_are_allowed_but_those_measured() -> None:
    assert forbidden(FAN, Constraints()) == []
    assert forbidden(FAN, Constraints(), (30.0, 55.0)) == [30]
    assert forbidden(PARALLEL, Constraints(), (30.0, -10.0)) == [30, 350]


def test_a_wedge_holds_its_ends_and_repeats_with_the_period() -> None:
    assert forbidden(FAN, wedge(20, 40)) == [20, 30, 40]
    assert forbidden(PARALLEL, wedge(20, 40)) == [20, 30, 40, 200, 210, 220]
    assert forbidden(FAN, wedge(345, 375)) == [0, 10, 350]
    assert forbidden(FAN, wedge(-15, 15)) == [0, 10, 350]
    assert len(forbidden(PARALLEL, wedge(0, 400))) == 36
    # Ends that rounding has moved inwards.
    assert forbidden(FAN, wedge(20 + 1e-9, 40 - 1e-9)) == [20, 30, 40]


def test_separation_is_measured_round_the_circle() -> None:
    near = Constraints(min_separation_rad=math.radians(15))
    assert forbidden(FAN, near, (0.0,)) == [0, 10, 350]
    assert forbidden(PARALLEL, near, (0.0,)) == [0, 10, 170, 180, 190, 350]
    # Exactly at the distance is far enough.
    assert forbidden(FAN, Constraints(min_separation_rad=math.radians(10)), (0.0,)) == [0]


@settings(max_examples=40, deadline=None)
@given(
    start=st.floats(-400, 400), width=st.floats(0, 400), separation=st.floats(0, 60),
    taken=st.lists(st.floats(-720, 720), max_size=4), fan=st.booleans(),
)  # fmt: skip
def test_what_is_allowed_lies_outside_the_wedge_and_apart_from_what_was_taken(
    start: float, width: float, separation: float, taken: list[float], *, fan: bool
) -> None:
    candidates, period = (FAN, 360.0) if fan else (PARALLEL, 180.0)
    constraints = Constraints(
        forbidden=(Wedge(math.radians(start), math.radians(start + width)),),
        min_separation_rad=math.radians(separation),
    )
    for angle in set(range(0, 360, 10)) - set(forbidden(candidates, constraints, tuple(taken))):
        turns = range(-8, 9)
        assert not any(start + 1e-6 < angle + turn * period < start + width - 1e-6 for turn in turns)
        assert all(abs(angle - other + turn * period) > separation - 1e-6 for other in taken for turn in turns)


def test_cost_is_exposure_and_travel_the_shorter_way() -> None:
    cost = Cost(exposure=2.0, per_radian=3.0).of(FAN, math.radians(350))
    torch.testing.assert_close(cost[[0, 17, 35]], 2 + 3 * torch.deg2rad(torch.tensor([10.0, 180.0, 0.0]).double()))
    on_a_line = Cost(per_radian=3.0, endless=False).of(FAN, math.radians(350))
    torch.testing.assert_close(on_a_line[[0, 17]], 1 + 3 * torch.deg2rad(torch.tensor([350.0, 180.0]).double()))
    exposures = tuple(float(index + 1) for index in range(36))
    torch.testing.assert_close(Cost(exposure=exposures).of(FAN, 0.0), torch.tensor(exposures, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wedge(30, 20), "runs forwards"),
        (lambda: Constraints(min_separation_rad=-1.0), "0 or more"),
        (lambda: Cost(exposure=0.0), "exposure must be positive"),
        (lambda: Cost(per_radian=math.nan), "per_radian must be finite"),
        (lambda: Cost(exposure=(1.0, 2.0)).of(FAN, 0.0), "36 candidates, got 2"),
    ],
)
def test_nonsense_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
