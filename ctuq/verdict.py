"""Are the error bars to be believed? One rule, used by the picture, the report and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dip.calibration import Calibration

CHI_SQUARE_RANGE = (0.8, 1.25)
"""Held-out chi-square per ray inside which error bars count as right: standard deviations right to about 12 %."""

COVERAGE_95_AT_LEAST = 0.90
"""Least share of held-out rays inside their 95 % interval for error bars to count as right."""

RULE = (
    f"Calibrated means: a held-out chi-square per ray from {CHI_SQUARE_RANGE[0]:g} to {CHI_SQUARE_RANGE[1]:g}, "
    f"and at least {100 * COVERAGE_95_AT_LEAST:.0f} % of the held-out rays inside their 95 % interval."
)


@dataclass(frozen=True)
class Verdict:
    """What the held-out rays say of the error bars.

    Args:
        calibrated: whether they are to be believed.
        headline: "calibrated" or "not calibrated".
        sentence: the evidence and what to make of it, in plain words.
        line: headline and numbers in one short line.
    """

    calibrated: bool
    headline: str
    sentence: str
    line: str


def judge(calibration: Calibration) -> Verdict:
    """Apply the rule (`RULE`) to the held-out rays. Numbers that are not finite never count as calibrated."""
    low, high = CHI_SQUARE_RANGE
    chi_square, coverage = calibration.chi_square, calibration.coverage_95
    calibrated = calibration.n_rays > 0 and low <= chi_square <= high and coverage >= COVERAGE_95_AT_LEAST
    headline = "calibrated" if calibrated else "not calibrated"
    evidence = f"of {calibration.n_rays:,} held-out rays {100 * coverage:.1f} % fell in their 95 % interval"
    numbers = f"chi-square {chi_square:.2f} per ray"
    return Verdict(
        calibrated=calibrated,
        headline=headline,
        sentence=f"{evidence[0].upper()}{evidence[1:]} ({numbers}): {_advice(calibration, calibrated=calibrated)}",
        line=f"{headline}: {evidence}, {numbers}",
    )


def _advice(calibration: Calibration, *, calibrated: bool) -> str:
    chi_square, coverage = calibration.chi_square, calibration.coverage_95
    if calibrated:
        return "believe these error bars."
    if calibration.n_rays == 0 or not (math.isfinite(chi_square) and math.isfinite(coverage)):
        return "nothing could be held against these error bars, so do not believe them."
    if chi_square < CHI_SQUARE_RANGE[0] and coverage >= COVERAGE_95_AT_LEAST:
        factor = 1 / math.sqrt(chi_square) if chi_square > 0 else math.inf
        return f"these error bars are too wide, by a factor of about {factor:.1f}. Take them as upper limits."
    if chi_square > CHI_SQUARE_RANGE[1]:
        return f"do not believe these error bars, they are too narrow by a factor of about {math.sqrt(chi_square):.1f}."
    return "do not believe these error bars, too many rays fall outside: the errors are not Gaussian."
