"""Registering parallel views half a turn apart: one is the other's mirror image about the rotation axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]

_LEAST_OVERLAP = 0.3  # of the detector, that a view and its mirror image must share
_AS_GOOD = 0.05  # of a step between views
_MOST_PAIRS = 40


class Pair(NamedTuple):
    """Two views, and by how many steps between views they miss half a turn."""

    first: int
    second: int
    missed: float


class PairedAxis(NamedTuple):
    """The axis that pairs of views agree on, in detector indices, and how well that is known."""

    cor_index: float
    standard_error: float


def half_turn_pairs(angles_rad: Sequence[float]) -> list[Pair]:
    """The pairs of views that miss half a turn least, if by no more than a step between views.

    A scan from 0 up to, but without, 180 degrees has one that misses it by a step.
    """
    angles = np.asarray(angles_rad)
    if len(angles) < 3:
        return []
    gaps = np.diff(np.sort(angles % (2 * math.pi)))
    step = float(np.median(gaps[gaps > 1e-9])) if (gaps > 1e-9).any() else math.inf
    apart = angles[:, None] - angles - math.pi
    missed = np.abs((apart + math.pi) % (2 * math.pi) - math.pi) / step
    nearest = missed.argmin(axis=1)
    pairs = {
        (min(i, j), max(i, j)): float(missed[i, j])
        for i, j in enumerate(nearest.tolist())
        if i != j and missed[i, j] < 1.05
    }
    best = min(pairs.values(), default=0.0)
    found = [Pair(i, j, miss) for (i, j), miss in sorted(pairs.items()) if miss <= best + _AS_GOOD]
    return found[:: max(1, math.ceil(len(found) / _MOST_PAIRS))]


def paired_axis(rows: Array, pairs: Sequence[Pair]) -> PairedAxis:
    """Register every pair; the median of what they say.

    The standard error is the larger of the pairs' scatter and of a single pair's own error, from the curvature of its
    squared difference; where half a turn is missed, with half of how far a view moves meanwhile added.

    Args:
        rows: (angle, detector) line integrals.
        pairs: at least one.
    """
    found = [_registered(rows, pair) for pair in pairs]
    centres, errors = np.array([centre for centre, _ in found]), np.array([error for _, error in found])
    # The median of n Gaussians is off by 1.25 deviations over the root of n.
    scatter = 1.25 * 1.4826 * float(np.median(np.abs(centres - np.median(centres)))) / math.sqrt(len(found))
    return PairedAxis(float(np.median(centres)), max(scatter, float(errors.min())))


def _registered(rows: Array, pair: Pair) -> tuple[float, float]:
    """Axis and standard error by one pair."""
    n = rows.shape[1]
    view, mirrored = rows[pair.first], rows[pair.second][::-1]
    most = (1 - _LEAST_OVERLAP) * (n - 1)
    shift, error = _shift(view, mirrored, most)
    if pair.missed > _AS_GOOD and len(rows) > 1:
        neighbour = rows[pair.first + 1 if pair.first + 1 < len(rows) else pair.first - 1]
        error += pair.missed * abs(_shift(view, neighbour, n / 8)[0])
    # Mirrored column i is column n - 1 - i; shifted by s it lies on the view when both are at 2 c - i.
    return (n - 1 + shift) / 2, error / 2


def _shift(still: Array, moving: Array, most: float) -> tuple[float, float]:
    """By how many columns `moving` has to be shifted to lie on `still`, up to `most`, and its standard error."""
    n = len(still)
    spline = CubicSpline(np.arange(n), moving)

    def overlap(shift: float) -> tuple[Array, Array]:
        at = np.arange(max(0, math.ceil(shift)), min(n - 1, math.floor(n - 1 + shift)) + 1)
        return still[at], np.asarray(spline(at - shift))

    def cost(shift: float) -> float:
        """Squared difference over what both vary: where there is nothing but air, nothing agrees."""
        ours, theirs = overlap(shift)
        return float(np.square(ours - theirs).mean() / (ours.var() + theirs.var() + 1e-300))

    trials = np.arange(-math.floor(most), math.floor(most) + 0.25, 0.5)
    start = float(trials[int(np.argmin([cost(float(trial)) for trial in trials]))])
    best = float(minimize_scalar(cost, bounds=(start - 0.6, start + 0.6), method="bounded", options={"xatol": 1e-3}).x)
    ours, theirs = overlap(best)
    slope = np.gradient(spline(np.arange(n)))
    # Least squares: the residual's variance over the sum of squared slopes.
    return best, float(np.sqrt(np.square(ours - theirs).mean() / max(float(np.square(slope).sum()), 1e-300)))
