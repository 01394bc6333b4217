"""What is said of work that is under way."""

from __future__ import annotations

import pytest

from ctuq.events import TerminalEvents
from ctuq.progress import Progress, Stretch, duration
from dip import FitSettings, fit
from tests.dip.test_fit import DATA, HOLDOUT, TRANSFORM, network, network_input


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [0.0]
    monkeypatch.setattr("ctuq.progress.time.monotonic", lambda: now[0])
    return now


def later(clock: list[float], seconds: float, stage: str, done: int, total: int, **info: float) -> Stretch:
    """After a slow start and a first step of `total` / 10."""
    progress = Progress()
    progress.step(stage, 0, total, {})
    clock[0] += 1000
    progress.step(stage, total // 10, total, {})
    clock[0] += seconds
    return progress.step(stage, done, total, info)


def test_a_fit_says_which_of_its_runs_it_is_in_and_what_is_left(clock: list[float]) -> None:
    found = later(clock, 10, "fit", 300, 1000, run=3, runs=5, loss=0.1234)
    assert found.name == "fitting the network (3 of 5: again without choosing rays)"
    assert found.share == "30 %"
    assert found.rest == "about 35 s left, loss 0.123"


def test_every_run_of_a_fit_says_what_it_is_for() -> None:
    settings = FitSettings(steps=2, refit_steps=1, tv_weights=(0.0, 1e-4), misfit_floors=(0.1,), bfloat16=False)
    told: list[str] = []
    progress = Progress()
    fit(
        [network()],
        network_input()[None],
        TRANSFORM,
        DATA,
        holdout=HOLDOUT,
        settings=settings,
        on_step=lambda done, total, info: told.append(progress.step("fit", done, total, info).name),
    )
    runs = [name.partition("(")[2].rstrip(")") for name in dict.fromkeys(told)]
    assert runs == [
        "1 of 5: trying settings",
        "2 of 5: trying settings",
        "3 of 5: again without choosing rays",
        "4 of 5: again with all rays",
        "5 of 5: again without test rays",
    ]


def test_the_rest_of_a_search_is_not_guessed(clock: list[float]) -> None:
    assert later(clock, 10, "evidence", 5, 100).left == ""


@pytest.mark.parametrize("done", [0, 100])
def test_nothing_is_left_at_the_end_and_nothing_known_at_the_start(clock: list[float], done: int) -> None:
    assert later(clock, 10, "fit", done, 100).left == ""


def test_files_and_slices_are_counted(clock: list[float]) -> None:
    assert Progress().step("look", 0, 1, {}).share == "0 of 1 file"
    found = later(clock, 3, "look", 12, 40, gigabytes_read=3.1)
    assert (found.name, found.share, found.rest) == ("reading scans", "12 of 40 files", "gigabytes read 3.1")


@pytest.mark.parametrize(
    ("timed", "words"),
    [(0, "by the scans' sizes"), (1, "at the pace of 1 slice"), (7, "at the pace of 7 slices")],
)
def test_a_batch_says_what_its_estimate_rests_on(clock: list[float], timed: int, words: str) -> None:
    found = later(clock, 3, "batch", 8, 40, minutes_left=75, slices_timed=timed, failed=1)
    assert found.rest == f"about 75 min left {words}, failed 1"


def test_a_stage_that_comes_again_is_timed_anew(clock: list[float]) -> None:
    progress = Progress()
    for began in (0.0, 100.0):
        clock[0] = began
        progress.step("fit", 0, 4, {})
        assert progress.step("fit", 1, 4, {}).left == ""
        clock[0] = began + 2
        assert progress.step("fit", 2, 4, {}).left == "about 4 s left"


@pytest.mark.parametrize(("stage", "words"), [("planned", "planned order"), ("random-2", "random order 2")])
def test_orders_of_a_replay_are_counted_in_reconstructions(clock: list[float], stage: str, words: str) -> None:
    found = later(clock, 3, stage, 3, 8, views=15)
    assert (found.name, found.share, found.rest) == (words, "3 of 8 reconstructions", "views 15")


def test_a_stage_begins_once_however_long_nothing_is_done(clock: list[float]) -> None:
    progress = Progress()
    found = []
    for clock[0], done in ((0, 0), (1, 0), (30, 0), (40, 1), (50, 2), (60, 1)):
        stretch = progress.step("look", done, 2, {})
        found.append((stretch.begins, stretch.seconds))
    assert found == [(True, 0), (False, 1), (False, 30), (False, 40), (False, 50), (True, 0)]


def test_a_log_is_told_every_ten_seconds_that_nothing_is_done_yet(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    events = TerminalEvents()
    for second in range(26):
        clock[0] = second
        events.step("look", 0, 2, {"gigabytes_read": second})
    told = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[1] for line in told] == ["0 s", "11 s", "22 s"]


def test_stages_that_are_not_known_stand_for_themselves(clock: list[float]) -> None:
    assert later(clock, 1, "some_stage", 1, 2).name == "some stage"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (7200, "2.0 h"), (200_000, "2.3 days")],
)
def test_durations_are_said_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words
