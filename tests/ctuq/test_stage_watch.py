"""What is told of a stage's steps."""

from __future__ import annotations

from collections.abc import Mapping

from ctuq.stage_watch import StageWatch


def told(*steps: tuple[int, int]) -> list[tuple[int, int]]:
    """Everything that a stage of these steps tells."""
    found: list[tuple[int, int]] = []

    def on_step(stage: str, done: int, total: int, _info: Mapping[str, float]) -> None:
        assert stage == "evidence"
        found.append((done, total))

    watch = StageWatch(on_step)
    with watch.stage("evidence"):
        for step in steps:
            watch.step(*step)
    return found


def test_a_search_that_ends_early_is_told_as_done_and_never_goes_back() -> None:
    """A step before the last one would be taken for a new beginning, and timed from there."""
    assert told((1, 40), (24, 40)) == [(0, 1), (1, 40), (24, 40), (40, 40)]


def test_a_stage_that_said_it_was_done_says_so_once() -> None:
    assert told((4, 4)) == [(0, 1), (4, 4)]
    assert told() == [(0, 1), (1, 1)]
