"""Are the error bars to be believed? One rule, used by the picture, the report and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctuq.amount import amount
from dip.calibration import Calibration
from dip.holdout import FEWEST_WHOLE_VIEWS

CHI_SQUARE_RANGE = (0.8, 1.25)
"""Chi-square per test ray inside which error bars count as right: standard deviations right to about 12 %."""

COVERAGE_95_AT_LEAST = 0.90
"""Least share of test rays inside their 95 % interval for error bars to count as right."""

RULE = (
    f"Calibrated means: chi-square per test ray from {CHI_SQUARE_RANGE[0]:g} to {CHI_SQUARE_RANGE[1]:g}, "
    f"and at least {100 * COVERAGE_95_AT_LEAST:.0f} % of the test rays inside their 95 % interval. "
    "Test rays chose nothing: a fit without them predicted them."
)

EDGE = "At the edge means: with both numbers moved by their standard errors, the rule could have said the opposite."

_CAVEAT = "Single pixels at sharp edges can be off by more."

_SEARCH = (
    "look in the residual of the report for what the model does not know: stripes (preprocessing.broken_columns, "
    "preprocessing.rings), edges seen twice (preprocessing.centre=find), clipped rays "
    "(preprocessing.largest_line_integral)"
)
_OTHER_VIEWS = "another --seed tests by other views: both verdicts count, not the better one"


_NO_FACTOR = 1.05  # between deviations as they are and as they should be, which is none to speak of


@dataclass(frozen=True)
class Verdict:
    """What the test rays say of the error bars.

    Args:
        calibrated: whether they are to be believed.
        at_the_edge: whether numbers moved by their standard errors could have said the opposite.
        headline: "calibrated" or "not calibrated", and whether that is at the edge.
        sentence: the evidence and what to make of it, in plain words.
        line: headline and numbers in one short line.
        caveat: what believing them does not cover; empty where they are not to be believed.
        next_step: what to try where that is not calibrated or at the edge, the most promising first; else empty.
    """

    calibrated: bool
    at_the_edge: bool
    headline: str
    sentence: str
    line: str
    caveat: str
    next_step: str


def judge(calibration: Calibration) -> Verdict:
    """Apply the rule (`RULE`) to the test rays. Numbers that are not finite never count as calibrated."""
    calibrated, edge = _calibrated(calibration), _at_the_edge(calibration)
    headline = ("calibrated" if calibrated else "not calibrated") + (", at the edge of the rule" if edge else "")
    coverage = with_error(100 * calibration.coverage_95, 100 * calibration.coverage_error, 1)
    evidence = f"of {amount(calibration.n_rays, 'test ray')} {coverage} % fell in their 95 % interval"
    numbers = f"chi-square {with_error(calibration.chi_square, calibration.chi_square_error, 2)} per ray"
    sentence = f"{evidence[0].upper()}{evidence[1:]} ({numbers}): {_meaning(calibration, calibrated, edge)}"
    if not calibration.whole_views and calibration.n_rays:
        sentence += (
            " The test is a weak one: with so few views single rays test, which do not show errors that all rays of "
            "a view share."
        )
    return Verdict(
        calibrated=calibrated,
        at_the_edge=edge,
        headline=headline,
        sentence=sentence,
        line=f"{headline}: {evidence}, {numbers}",
        caveat=_CAVEAT if calibrated else "",
        next_step=_next_step(calibration, calibrated, edge),
    )


def _calibrated(calibration: Calibration, slack: float = 0.0) -> bool:
    """By the rule, with its limits moved by so many standard errors."""
    low, high = CHI_SQUARE_RANGE
    chi_square, coverage = calibration.chi_square, calibration.coverage_95
    # Without a standard error the limits stay where they are.
    chi_slack, coverage_slack = (
        slack * error if math.isfinite(error) else 0.0
        for error in (calibration.chi_square_error, calibration.coverage_error)
    )
    within = low - chi_slack <= chi_square <= high + chi_slack
    return calibration.n_rays > 0 and within and coverage >= COVERAGE_95_AT_LEAST - coverage_slack


def _at_the_edge(calibration: Calibration) -> bool:
    return _calibrated(calibration, 1.0) != _calibrated(calibration, -1.0)


def _meaning(calibration: Calibration, calibrated: bool, edge: bool) -> str:
    chi_square, coverage = calibration.chi_square, calibration.coverage_95
    if calibrated:
        return "believe these error bars for rays and averages" + (
            ", though other views might have said otherwise." if edge else "."
        )
    if _nothing_judged(calibration):
        return "nothing could be held against these error bars, so do not believe them."
    if edge:
        missed = (
            "these error bars miss the rule by less than a standard error, so other views might have said otherwise. "
        )
        factor = max(chi_square, 1 / chi_square) ** 0.5 if chi_square > 0 else math.inf
        if factor < _NO_FACTOR:
            return f"{missed}On the whole they are as wide as they should be, but too many rays fall outside."
        direction = "wide" if chi_square < 1 else "narrow"
        return f"{missed}If anything they are too {direction}, by a factor of about {factor:.2g}."
    if chi_square < CHI_SQUARE_RANGE[0] and coverage >= COVERAGE_95_AT_LEAST:
        factor = 1 / math.sqrt(chi_square) if chi_square > 0 else math.inf
        return f"these error bars are too wide, by a factor of about {factor:.1f}. Take them as upper limits."
    if chi_square > CHI_SQUARE_RANGE[1]:
        return f"do not believe these error bars, they are too narrow by a factor of about {math.sqrt(chi_square):.1f}."
    return "do not believe these error bars, too many rays fall outside: the errors are not Gaussian."


def _next_step(calibration: Calibration, calibrated: bool, edge: bool) -> str:
    if calibrated and not edge:
        return ""
    if _nothing_judged(calibration):
        return "first give the scan more views; where there are none, a larger holdout.fraction"
    # A stronger test first: what a weak one says may not need a remedy.
    more = f"first take {FEWEST_WHOLE_VIEWS} views or more, if there are (scan.angle_step); then "
    too_wide = calibration.chi_square < CHI_SQUARE_RANGE[0] and calibration.coverage_95 >= COVERAGE_95_AT_LEAST
    return ("" if calibration.whole_views else more) + (_OTHER_VIEWS if edge or too_wide else _SEARCH)


def _nothing_judged(calibration: Calibration) -> bool:
    return calibration.n_rays == 0 or not (
        math.isfinite(calibration.chi_square) and math.isfinite(calibration.coverage_95)
    )


def with_error(value: float, error: float, digits: int) -> str:
    """A number and its standard error, where that is known, in words."""
    return f"{value:.{digits}f} ± {error:.{digits}f}" if math.isfinite(error) else f"{value:.{digits}f}"
