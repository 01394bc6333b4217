from __future__ import annotations

import json

import pytest
import torch

from design import MeasuredView, PlannerState, Suggestion

FIRST = MeasuredView("b", 0.2, (1.0, 1 / 3), "pilot")
SECOND = MeasuredView("a", 0.1, (0.0, -2.5e-17), "suggested")
STATE = PlannerState(
    candidate_ids=("a", "b", "c"),
    suggestions=(Suggestion("a", 0.1, 2.0), Suggestion("c", 0.3, 1.0, failures=2)),
    present_rad=0.3,
)


def test_a_state_survives_json_to_the_last_bit() -> None:
    state = STATE.measuring([FIRST, SECOND]).fitting()
    assert PlannerState.from_json(json.loads(json.dumps(state.as_json()))) == state


def test_measured_views_close_their_suggestions_and_are_kept_by_angle() -> None:
    state = STATE.measuring([FIRST]).measuring([SECOND])
    assert state == STATE.measuring([SECOND, FIRST])
    assert [view.id for view in state.measured] == ["a", "b"]
    assert [suggestion.id for suggestion in state.open] == ["c"]
    assert state.open_angles == {"c": 0.3}


def test_failures_are_counted_and_outlive_a_second_suggestion() -> None:
    state = STATE.failing(["c"]).failing(["c", "b"])
    assert [(s.id, s.open, s.failures) for s in state.suggestions] == [("a", True, 0), ("c", False, 3)]
    again = state.suggesting([Suggestion("c", 0.3, 0.5)], present_rad=0.7)
    assert again.suggestions[1] == Suggestion("c", 0.3, 0.5, open=True, failures=3)
    assert again.present_rad == 0.7


def test_what_is_fitted_is_not_new() -> None:
    state = STATE.measuring([FIRST]).fitting().measuring([SECOND])
    assert (state.fitted_ids, state.unfitted_angles) == (("b",), {"a": 0.1})
    angles, sinogram = state.sinogram(["a", "b"])
    assert angles.tolist() == [0.1, 0.2]
    torch.testing.assert_close(sinogram, torch.tensor([[0.0, -2.5e-17], [1.0, 1 / 3]], dtype=torch.float64))
    assert state.sinogram(state.fitted_ids)[0].tolist() == [0.2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 7}, "version 1, got 7"),
        ({"suggestions": [{"id": "a"}]}, "as as_json"),
        ({"measured": [{"id": "a"}]}, "as as_json"),
        ({"present_rad": "here"}, "as as_json"),
        ({"measured": [{"id": "a", "angle_rad": 0, "projection": [], "origin": "dreamt"}]}, "origin"),
    ],
)
def test_what_is_no_state_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlannerState.from_json({**STATE.as_json(), **change})
