"""The page of an acquisition: what it says at each stage, and in headless Chromium its charts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctuq.acquisition_page import acquisition_numbers, render_acquisition, views_of, write_acquisition_page
from ctuq.acquisition_state import AcquisitionFolder, AcquisitionSettings, AcquisitionState, CurvePoint
from ctuq.config import Config
from ctuq.errors import InputError
from design import PlannerState, Suggestion
from design.planner_state import MeasuredView
from tests.ctuq.browser import chromium, needs_browser, opened, requested
from tests.ctuq.fake_planning import geometry_of

SETTINGS = AcquisitionSettings(
    name="<b>run7",
    instrument=geometry_of(np.arange(0, 180, 10.0)),
    stated_cor_index=None,
    criterion="eig",
    roi="disc:0,0,3",
    config=Config(),
    seed=3,
)


def planner() -> PlannerState:
    """Measured at 0 (before), 40 (as suggested) and 70 (unasked); 20 and 90 are open, 130 failed for good."""
    measured = [
        MeasuredView(str(n), math.radians(n), (0.0,) * 14, origin)  # type: ignore[arg-type]
        for n, origin in ((0, "pilot"), (40, "suggested"), (70, "unplanned"))
    ]
    suggestions = [
        Suggestion("40", math.radians(40), 9.0, open=False),
        Suggestion("130", math.radians(130), 8.0, open=False, failures=2),
        Suggestion("20", math.radians(20), 7.0),
        Suggestion("90", math.radians(90), 6.0),
    ]
    return PlannerState(candidate_ids=("a",) * 18, measured=tuple(measured), suggestions=tuple(suggestions))


STATE = AcquisitionState(
    planner(),
    curve=(CurvePoint(1, 0.01, None), CurvePoint(3, 0.007, 0.0065)),
    promised={"3": 0.0065, "5": 0.005},
)


def test_each_view_stands_somewhere() -> None:
    assert [(view.degrees, view.standing, view.score) for view in views_of(STATE)] == [
        (20, "to measure now", 7),
        (90, "to measure now", 6),
        (0, "measured before", None),
        (40, "measured as suggested", 9),
        (70, "measured, not suggested", None),
        (130, "failed (2 times)", 8),
    ]


def test_a_view_that_was_tried_again_is_listed_once_with_its_history() -> None:
    failed = planner().failing(["90"])
    assert [view.standing for view in views_of(AcquisitionState(failed)) if view.degrees == 90] == ["failed (1 time)"]
    again = failed.suggesting([Suggestion("90", math.radians(90), 5.0)], present_rad=0.0)
    opened_again = [view.standing for view in views_of(AcquisitionState(again)) if view.degrees == 90]
    assert opened_again == ["to measure now (failed 1 time before)"]
    measured = again.measuring([MeasuredView("90", math.radians(90), (0.0,) * 14, "suggested")])
    found = AcquisitionState(measured)
    assert [(view.standing, view.score) for view in views_of(found) if view.degrees == 90] == [
        ("measured as suggested (failed 1 time before)", 5)
    ]
    assert acquisition_numbers(SETTINGS, found)["failed"] == [130]


def test_the_page_says_what_to_do_now() -> None:
    page = render_acquisition(Path("run7"), SETTINGS, STATE)
    assert "Measure these 2 views now: 20.0°, 90.0°." in page
    assert "from 0.007 to 0.005 1/mm" in page
    assert "root mean square over the region disc:0,0,3" in page
    assert "<code>ctuq acquire tell run7 VIEWS</code>" in page
    assert "&lt;b&gt;run7" in page
    assert "<b>run7" not in page
    assert len(page) < 8e6


@pytest.mark.parametrize(
    ("stopped", "enough", "words"),
    [
        (None, False, "Nothing is to be measured right now."),
        ("at its target", True, "Enough is measured:"),
        ("no candidate is left", False, "No further view is suggested:</strong> no candidate is left."),
    ],
)
def test_the_page_says_when_there_is_nothing_to_do(stopped: str | None, enough: bool, words: str) -> None:
    idle = replace(planner(), suggestions=())
    page = render_acquisition(Path("run 7"), SETTINGS, AcquisitionState(idle, stopped=stopped, enough=enough))
    assert words in page
    assert ('class="banner good"' in page) == enough
    assert "ctuq acquire next &#39;run 7&#39;</pre>" in page
    assert "Nothing is known of them yet" in page


def test_without_an_acquisition_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder with an acquisition"):
        write_acquisition_page(AcquisitionFolder(tmp_path))


@needs_browser
def test_the_charts_hold_the_numbers_of_the_state(tmp_path: Path) -> None:
    folder = AcquisitionFolder(tmp_path / "run7")
    folder.create(SETTINGS, STATE, force=False)
    path = write_acquisition_page(folder)
    with chromium() as browser:
        for width, dark in ((1280, True), (400, False)):
            found = opened(browser, path, width=width, dark=dark)
            assert found.complaints == []
            assert requested(found) == [found.page.url]
            assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        circle = found.page.evaluate("document.getElementById('circle').data.map((t) => t.theta)")
        curves = found.page.evaluate("document.getElementById('promises').data.map((t) => [t.x, t.y])")
    assert circle[2:] == [[20, 90], [130]]
    assert {angle for angle in circle[0] if angle is not None} == {0, 40, 70}
    assert curves == [[[1, 3], [0.01, 0.007]], [[3, 5], [0.0065, 0.005]]]
