"""When error bars count as right, and what is said when they do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ctuq.verdict import judge
from tests.ctuq.fake_results import fake_calibration


@pytest.mark.parametrize(
    ("chi_square", "coverage_95", "calibrated", "words"),
    [
        (1.0, 0.952, True, "believe these error bars."),
        (0.8, 0.90, True, "believe these error bars."),
        (1.25, 0.90, True, "believe these error bars."),
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
    found = judge(replace(fake_calibration(), chi_square=chi_square, coverage_95=coverage_95))
    assert found.calibrated is calibrated
    assert found.headline == ("calibrated" if calibrated else "not calibrated")
    assert words in found.sentence


def test_the_evidence_is_in_plain_words() -> None:
    found = judge(replace(fake_calibration(), chi_square=1.04, coverage_95=0.952))
    assert found.sentence == (
        "Of 1,260 held-out rays 95.2 % fell in their 95 % interval (chi-square 1.04 per ray): believe these error bars."
    )


def test_no_rays_are_no_evidence() -> None:
    assert not judge(replace(fake_calibration(), n_rays=0, chi_square=1.0, coverage_95=1.0)).calibrated
