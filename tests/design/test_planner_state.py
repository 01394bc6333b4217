from __future__ import annotations

import json
from dataclasses import replace

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
    assert state.awaited == {"c": (0.3, 1.0)}


def test_failures_are_counted_and_outlive_a_second_suggestion() -> None:
    state = STATE.failing(["c"]).failing(["c", "b"])
    assert [(s.id, s.open, s.failures) for s in state.suggestions] == [("a", True, 0), ("c", False, 3)]
    again = state.suggesting([Suggestion("c", 0.3, 0.5)], present_rad=0.7)
    assert again.suggestions[1] == Suggestion("c", 0.3, 0.5, open=True, failures=3)
    assert again.present_rad == 0.7


def test_what_is_fitted_is_not_new() -> None:
    state = STATE.measuring([FIRST]).fitting().measuring([SECOND])
    assert (state.fitted_ids, state.unfitted) == (("b",), {"a": (0.1, 1.0)})
    angles, sinogram = state.sinogram(["a", "b"])
    assert angles.tolist() == [0.1, 0.2]
    torch.testing.assert_close(sinogram, torch.tensor([[0.0, -2.5e-17], [1.0, 1 / 3]], dtype=torch.float64))
    assert state.sinogram(state.fitted_ids)[0].tolist() == [0.2]


def test_views_that_state_no_noise_are_taken_to_be_as_noisy_as_the_others() -> None:
    stated = [replace(FIRST, noise_variance=(1.0, 4.0)), replace(SECOND, noise_variance=(3.0, 4.0))]
    third = MeasuredView("c", 0.3, (1.0, 1.0), "suggested")
    state = STATE.measuring([FIRST, SECOND])
    assert state.noise_variance(["a", "b"]) is None
    state = STATE.measuring([*stated, third])
    assert PlannerState.from_json(json.loads(json.dumps(state.as_json()))) == state
    variance = state.noise_variance(["a", "b", "c"])
    assert variance is not None
    torch.testing.assert_close(variance, torch.tensor([[3.0, 4.0], [1.0, 4.0], [1.5, 4.0]], dtype=torch.float64))
    louder = MeasuredView("d", 0.4, (1.0, 1.0), "suggested", (2.0, 8.0))
    after = STATE.measuring(stated).fitting().measuring([third, louder]).unfitted
    # Of precisions 1, 1/4, 1/3 and 1/4 the mean is 11/24, of 1/2 and 1/8 it is 5/16.
    assert after == {"c": (0.3, 1.0), "d": (0.4, pytest.approx(11 / 24 / (5 / 16)))}


def test_a_state_from_before_noise_was_kept_is_read() -> None:
    plain = STATE.measuring([FIRST]).as_json()
    for view in plain["measured"]:
        del view["noise_variance"]
    assert PlannerState.from_json(plain) == STATE.measuring([FIRST])


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
