"""How many views a design saves against equidistant ones, image by image."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import scipy.stats


def views_needed(curve: Mapping[str, float], goal: float) -> float:
    """Views at which a PSNR, linear between its points, first reaches a goal; infinite where it never does."""
    points = sorted((int(n), value) for n, value in curve.items())
    if points[0][1] >= goal:
        return float(points[0][0])
    for (before, low), (after, high) in itertools.pairwise(points):
        if high >= goal:
            return before + (goal - low) / (high - low) * (after - before)
    return math.inf


def summary(
    images: Mapping[str, Mapping[str, Any]], designs: Sequence[str], targets: Sequence[int], most: int
) -> dict[str, Any]:
    """By target and design: share of views saved with its 95 % interval over images, and how many never got there.

    Those that did not are taken to have needed two more than were measured at most.

    Args:
        images: by index, and by design: {"psnr_db": {views: PSNR}}; "equidistant" and "golden" have all targets.
        designs: that are compared with equidistant views; the first also with each of the others.
        targets: numbers of equidistant views whose PSNR is to be reached.
        most: views that are measured at most.
    """
    found: dict[str, Any] = {}
    for target in targets:
        needed = {name: _needed(images, name, target, most) for name in designs}
        rows: dict[str, Any] = {}
        for name, counts in needed.items():
            if counts:
                saved = _interval([1 - count / target for count in counts.values()])
                rows[name] = {"saved": saved, "never": sum(count > most for count in counts.values()), "views": counts}
        first, *others = designs
        for name in others:
            both = needed[first].keys() & needed[name].keys()
            if both:
                fewer = _interval([needed[name][index] - needed[first][index] for index in both])
                rows[f"views fewer than {name}"] = fewer
        found[str(target)] = rows
    golden = [row for row in images.values() if "golden" in row]
    for name in found if golden else ():
        gains = [row["golden"]["psnr_db"][name] - row["equidistant"]["psnr_db"][name] for row in golden]
        found[name]["golden minus equidistant, dB"] = _interval(gains)
    return found


def _needed(images: Mapping[str, Mapping[str, Any]], name: str, target: int, most: int) -> dict[str, float]:
    measured = {index: row for index, row in images.items() if name in row}
    return {
        index: min(views_needed(row[name]["psnr_db"], row["equidistant"]["psnr_db"][str(target)]), most + 2.0)
        for index, row in measured.items()
    }


def _interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, and the ends of its 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "images": len(values)}
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half, "images": len(values)}
