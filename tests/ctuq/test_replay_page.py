"""The page of a replay: what it says of planning, and in headless Chromium its charts and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ctuq.replay_curves import Curve, Point, Replay, ReplaySettings
from ctuq.replay_page import MEASURES, gains, random_spread, render_replay, write_replay_page
from tests.ctuq.browser import Opened, chromium, needs_browser, opened, requested
from tests.ctuq.fake_results import fake_provenance

SETTINGS = ReplaySettings(start=3, n_angles=5, every=3, random_seeds=2)
ANGLES = tuple(np.radians(np.arange(0, 180, 5.0)).tolist())


def curve(first: int, psnr: float, std: float, promised: float | None = None) -> Curve:
    """Likeness grows and deviation falls to these values with all views."""
    points = [
        Point(n, psnr - (8 - n), 0.5 + n / 100, 1 + n / 100, std * 8 / n, std * 9 / n, promised if n > 3 else None)
        for n in SETTINGS.points
    ]
    return Curve(tuple(range(first, first + 24, 3)), tuple(points))


@pytest.fixture(scope="module")
def made() -> Replay:
    curves = {
        "planned": curve(0, 30, 0.02, 0.03),
        "equidistant": curve(1, 29, 0.025),
        "golden": curve(2, 30.5, 0.016),
        "random-1": curve(3, 26, 0.05),
        "random-2": curve(4, 28, 0.03),
    }
    return Replay(fake_provenance(scan_name="<b>disc"), ANGLES, curves, SETTINGS)


def test_planning_is_compared_with_each_other_order(made: Replay) -> None:
    found = {gain.name: (gain.psnr, gain.std) for gain in gains(made)}
    assert list(found) == ["equidistant", "golden", "random"]
    np.testing.assert_allclose(list(found.values()), [(1, -20), (-0.5, 25), (3, -50)])
    assert random_spread(made) == (26, 28)
    page = render_replay(made)
    for words in (
        "With 8 views, the planned ones gave 30.00 dB",
        "1.00 dB better than equidistant, with error bars 20 % smaller",
        "0.50 dB worse than golden, with error bars 25 % larger",
        "promised error bars of 0.03 1/mm; the data then gave\n0.0225 1/mm",
        "Orders at random lay between 26.00 and 28.00 dB",
        "&lt;b&gt;disc",
    ):
        assert words in page, words
    assert "<b>disc" not in page
    assert len(page) < 8e6


@pytest.mark.parametrize(("chi_square", "told"), [(1.31, "1.31"), (0.79, "0.79"), (math.nan, "nan")])
def test_error_bars_that_are_not_to_be_believed_are_named_in_the_headline(
    made: Replay, chi_square: float, told: str
) -> None:
    assert "not to be believed" not in render_replay(made)
    golden = made.curves["golden"]
    off = replace(golden, points=(*golden.points[:-1], replace(golden.points[-1], chi_square=chi_square)))
    page = render_replay(replace(made, curves={**made.curves, "golden": off}))
    banner = " ".join(page.partition('id="verdict"')[2].partition("</section>")[0].split())
    assert f"from 0.8 to 1.25 where they are, is {told} (golden) with 8 views." in banner


def test_planning_alone_is_shown_too(made: Replay) -> None:
    page = render_replay(replace(made, curves={"planned": made.curves["planned"]}))
    assert "gave 30.00 dB</strong>." in page
    assert "at random lay" not in page


@pytest.fixture(scope="module")
def page(made: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    path = write_replay_page(made, tmp_path_factory.mktemp("replay") / "r.html")
    with chromium() as browser:
        yield opened(browser, path, width=400, dark=True)


@needs_browser
def test_the_page_asks_for_nothing_and_complains_of_nothing(page: Opened) -> None:
    assert page.complaints == []
    assert requested(page) == [page.page.url]
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 400


@needs_browser
def test_charts_and_tables_hold_the_numbers_of_the_replay(page: Opened, made: Replay) -> None:
    for measure in MEASURES:
        drawn = page.page.evaluate(f"document.getElementById('chart-{measure.name}').data.map((t) => [t.x, t.y])")
        table = page.page.locator(f"#{measure.name} tbody tr")
        # The planned curve is drawn last, above the others.
        for (x, y), (name, found) in zip(drawn, list(made.curves.items())[::-1], strict=True):
            assert x == [3, 6, 8]
            assert y == [getattr(point, measure.name) for point in found.points], name
        for row, (name, found) in zip(table.all(), made.curves.items(), strict=True):
            told = [measure.form % getattr(point, measure.name) for point in found.points]
            assert row.inner_text().split() == [name, *told]


@needs_browser
def test_views_and_promises_are_those_of_the_replay(page: Opened, made: Replay) -> None:
    drawn = page.page.evaluate("document.getElementById('circle-golden').data[2].theta")
    np.testing.assert_allclose(drawn, [5.0 * view for view in made.curves["golden"].views[3:]])
    realised, promised = page.page.evaluate("document.getElementById('promises').data.map((t) => [t.x, t.y])")
    assert promised == [[6, 8], [0.03, 0.03]]
    np.testing.assert_allclose(realised[1], [point.rms_std for point in made.curves["planned"].points])
    assert page.page.locator("[id^=circle-]").count() == 4  # of the orders at random the first
