from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from design import Candidates, view_id
from operators import RayTransform
from tests.design.scene import ANGLES, CANDIDATES, FAN, PARALLEL


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(len(ANGLES))))
def test_names_stay_with_their_angles_in_any_order(order: list[int]) -> None:
    shuffled = Candidates(PARALLEL.select(order))
    assert [shuffled.ids[place] for place in range(len(order))] == [CANDIDATES.ids[index] for index in order]
    assert [shuffled.index_of(CANDIDATES.ids[index]) for index in order] == list(range(len(order)))


@pytest.mark.parametrize(
    ("angle", "name"),
    [(0.0, "view-000.0000"), (2 * math.pi, "view-000.0000"), (-1e-9, "view-000.0000"), (math.pi / 8, "view-022.5000")],
)
def test_a_name_is_degrees_modulo_a_turn(angle: float, name: str) -> None:
    assert view_id(angle) == name


def test_unknown_names_have_no_index() -> None:
    assert CANDIDATES.index_of("view-001.2345") is None


def test_two_candidates_at_one_angle_are_refused() -> None:
    with pytest.raises(ValueError, match=r"view-005\.7296 more than once"):
        Candidates(PARALLEL.select([0, 1, 0]))


@pytest.mark.parametrize("geometry", [PARALLEL, FAN])
def test_a_view_at_a_candidates_angle_is_that_candidate(geometry: object) -> None:
    candidates = Candidates(FAN if geometry is FAN else PARALLEL)
    image = torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = RayTransform(candidates.geometry)(image)[3]
    torch.testing.assert_close(candidates.view_at(ANGLES[3])(image)[0], expected)
    assert candidates.period_rad == (2 * math.pi if geometry is FAN else math.pi)
    assert (len(candidates), candidates.n_detectors) == (8, 6)
