"""The page of a plan: its words, and in headless Chromium its charts, its table and its copies."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from ctuq import AnglePlan, plan
from ctuq.plan_page import render_plan
from ctuq.verdict import judge
from tests.ctuq.browser import Opened, needs_browser, opened, requested
from tests.ctuq.fake_planning import gaussian_reconstruction, scan_of
from tests.ctuq.fake_results import fake_calibration, fake_provenance

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def made() -> AnglePlan:
    reconstruction = gaussian_reconstruction(scan_of((0, 45, 90, 135)))
    return replace(plan(reconstruction, candidates=36, n_angles=5), command="ctuq plan disc.h5 -n 5")


def test_the_page_says_in_words_what_to_do_and_what_it_brings(made: AnglePlan) -> None:
    page = render_plan(made)
    fall = float(100 * made.promised_fall[-1])
    assert f"Measure these 5 views, and the error bars are promised to\nshrink by {fall:.0f} %" in page
    assert "square over the image." in page
    assert '<pre id="command" tabindex="0">ctuq plan disc.h5 -n 5</pre>' in page
    assert len(page) < 8e6


def test_doubts_of_any_kind_are_on_the_page(made: AnglePlan) -> None:
    wide = judge(fake_calibration(spread=1.6))
    evil = "<script>alert(1)</script>"
    doubted = replace(made, verdict=wide, notes=(evil,), provenance=fake_provenance(scan_name=evil), region_pixels=1234)
    page = render_plan(doubted)
    assert "The error bars behind this plan are not calibrated." in page
    assert "over the region of 1,234 pixels" in page
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3
    assert "The error bars behind this plan are" not in render_plan(replace(made, verdict=judge(fake_calibration())))


def test_a_plan_without_views_says_that_none_is_needed(made: AnglePlan) -> None:
    empty = torch.zeros(0, dtype=torch.float64)
    stopped = replace(made, angles_rad=empty, scores=empty, order=empty.long(), region_std=made.region_std[:1])
    assert "No further view is needed." in render_plan(stopped)


@pytest.fixture(scope="module")
def page(browser: Browser, made: AnglePlan, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opened(browser, made.report(tmp_path_factory.mktemp("plan") / "p.html"))


@needs_browser
def test_the_page_asks_for_nothing_and_complains_of_nothing(page: Opened) -> None:
    assert page.complaints == []
    assert requested(page) == [page.page.url]


@needs_browser
def test_the_charts_hold_the_numbers_of_the_plan(page: Opened, made: AnglePlan) -> None:
    circle = page.page.evaluate("document.getElementById('circle').data.map((t) => [t.name, t.theta])")
    degrees = np.degrees(made.angles_rad.numpy())
    np.testing.assert_allclose(circle[2][1], degrees)
    assert sorted({angle for angle in circle[0][1] if angle is not None}) == [0, 45, 90, 135]
    curve, _, chosen, _ = page.page.evaluate("document.getElementById('gains').data.map((t) => [t.x, t.y])")
    np.testing.assert_allclose(curve[1], made.candidate_scores.numpy())
    np.testing.assert_allclose(chosen, np.stack([degrees, made.scores.numpy()]))
    (promised,) = page.page.evaluate("document.getElementById('promises').data.map((t) => [t.x, t.y])")
    np.testing.assert_allclose(promised, np.stack([np.arange(4, 10), made.region_std.numpy()]))


@needs_browser
def test_the_table_is_copied_with_all_digits(browser: Browser, made: AnglePlan, tmp_path: Path) -> None:
    found = opened(browser, made.report(tmp_path / "p.html"))
    found.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    found.page.click("button[data-copy=views]")
    found.page.wait_for_selector("#copied:has-text('opied')")
    rows = [line.split("\t") for line in found.page.evaluate("navigator.clipboard.readText()").splitlines()]
    assert len(rows) == 6
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], np.degrees(made.angles_rad.numpy()), rtol=1e-12)
    np.testing.assert_allclose([float(row[2]) for row in rows[1:]], made.scores.numpy(), rtol=1e-12)
    found.page.focus("button[data-copy=angles]")
    found.page.keyboard.press("Enter")
    found.page.wait_for_function("navigator.clipboard.readText().then((text) => !text.includes('score'))")
    angles = [float(line) for line in found.page.evaluate("navigator.clipboard.readText()").split()]
    np.testing.assert_allclose(angles, np.degrees(made.angles_rad[made.order.argsort()].numpy()), rtol=1e-12)
    assert found.complaints == []


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(400, True), (1280, False)])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, made: AnglePlan, tmp_path: Path, width: int, dark: bool
) -> None:
    found = opened(browser, made.report(tmp_path / "p.html"), width=width, dark=dark)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.complaints == []
    shown = found.page.inner_text("#views tbody tr:first-child")
    assert re.split(r"\s+", shown)[1] == f"{math.degrees(float(made.angles_rad[0])):.3f}"
