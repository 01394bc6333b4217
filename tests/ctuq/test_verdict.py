"""When error bars count as right, and what is said when they do not."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from ctuq.verdict import judge
from tests.ctuq.fake_results import fake_calibration


@pytest.mark.parametrize(
    ("chi_square", "coverage_95", "calibrated", "words"),
    [
        (1.0, 0.952, True, "believe these error bars for rays and averages."),
        (0.8, 0.90, True, "believe these error bars for rays and averages."),
        (1.25, 0.90, True, "believe these error bars for rays and averages."),
        (1.26, 0.95, False, "too narrow by a factor of about 1.1"),
        (4.0, 0.67, False, "do not believe these error bars, they are too narrow by a factor of about 2.0"),
        (0.25, 1.0, False, "too wide, by a factor of about 2.0"),
        (0.0, 1.0, False, "too wide"),
        (1.0, 0.89, False, "not Gaussian"),
        (0.7, 0.85, False, "not Gaussian"),
        (math.nan, 0.95, False, "nothing could be held against"),
        (1.0, math.nan, False, "nothing could be held against"),
    ],
)
def test_the_rule(chi_square: float, coverage_95: float, calibrated: bool, words: str) -> None:
    unknown = replace(fake_calibration(), chi_square_error=math.nan, coverage_error=math.nan)
    found = judge(replace(unknown, chi_square=chi_square, coverage_95=coverage_95))
    assert found.calibrated is calibrated
    assert found.headline == ("calibrated" if calibrated else "not calibrated")
    assert words in found.sentence


def test_the_evidence_is_in_plain_words() -> None:
    found = judge(replace(fake_calibration(), chi_square=1.04, coverage_95=0.952))
    assert found.sentence == (
        "Of 1,260 test rays 95.2 ± 0.8 % fell in their 95 % interval (chi-square 1.04 ± 0.05 per ray): believe "
        "these error bars for rays and averages."
    )
    assert found.caveat == "Single pixels at sharp edges can be off by more."
    assert judge(fake_calibration(spread=2.0)).caveat == ""


@pytest.mark.parametrize(
    ("chi_square", "coverage_95", "calibrated", "edge"),
    [
        (1.0, 0.896, False, True),
        (1.0, 0.905, True, True),
        (1.0, 0.95, True, False),
        (1.0, 0.70, False, False),
        (1.30, 0.95, False, True),
        (1.30, 0.85, False, False),  # one number alone is near
        (1.20, 0.95, True, True),
    ],
)
def test_numbers_within_a_standard_error_of_the_rule_are_at_its_edge(
    chi_square: float, coverage_95: float, calibrated: bool, edge: bool
) -> None:
    errors = replace(fake_calibration(), chi_square_error=0.1, coverage_error=0.02)
    found = judge(replace(errors, chi_square=chi_square, coverage_95=coverage_95))
    assert (found.calibrated, found.at_the_edge) == (calibrated, edge)
    assert found.headline.endswith("at the edge of the rule") is edge
    assert ("other views might have said otherwise" in found.sentence) is edge
    assert bool(found.next_step) is (edge or not calibrated)
    assert f"{100 * coverage_95:.1f} ± 2.0 %" in found.sentence
    assert ("--seed" in found.next_step) is edge


def test_single_rays_are_said_to_be_a_weak_test() -> None:
    few = judge(replace(fake_calibration(spread=2.0), whole_views=False))
    assert "single rays test" in few.sentence
    assert re.fullmatch(r"first take 24 views or more.*; then look in the residual .*", few.next_step)
    assert "single rays" not in judge(fake_calibration()).sentence


def test_no_rays_are_no_evidence() -> None:
    assert not judge(replace(fake_calibration(), n_rays=0, chi_square=1.0, coverage_95=1.0)).calibrated


def test_at_the_edge_the_verdict_says_which_way_the_error_bars_are_off() -> None:
    errors = replace(fake_calibration(), chi_square_error=0.1, coverage_error=0.02)
    wide = judge(replace(errors, chi_square=0.77, coverage_95=0.967))
    assert wide.at_the_edge
    assert not wide.calibrated
    assert "If anything they are too wide, by a factor of about 1.1." in wide.sentence
    narrow = judge(replace(errors, chi_square=1.3, coverage_95=0.91))
    assert "If anything they are too narrow, by a factor of about 1.1." in narrow.sentence
    neither = judge(replace(errors, chi_square=1.01, coverage_95=0.888))
    assert neither.at_the_edge
    assert "as wide as they should be, but too many rays fall outside." in neither.sentence
    assert "factor" not in neither.sentence
