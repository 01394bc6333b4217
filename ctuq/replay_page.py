"""The page of a replay: whether planning paid on a scan that has all angles, and whether the plan kept its promises."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctuq.page import chart_page
from ctuq.page_numbers import finite
from ctuq.rays import degrees_of
from ctuq.replay_curves import Curve, Replay
from ctuq.verdict import CHI_SQUARE_RANGE
from ctuq.whole_file import write_text_whole


@dataclass(frozen=True)
class Measure:
    """Something that every point of every curve has.

    Args:
        name: the attribute of `ctuq.replay_curves.Point`.
        label: of axis and table, with unit.
        meaning: below the chart.
        form: of a number in the table.
    """

    name: str
    label: str
    meaning: str
    form: str


MEASURES: Final = (
    Measure("psnr", "PSNR (dB)", "Likeness of the image to the reference in decibels: higher is better.", "%.2f"),
    Measure(
        "ssim", "SSIM", "Likeness in structure, 1 where image and reference are the same: higher is better.", "%.3f"
    ),
    Measure(
        "rms_std",
        "error bars (1/mm)",
        "The image's own error bars: one standard deviation, root mean square over its pixels. Smaller is better, as "
        "long as they can be believed.",
        "%.4g",
    ),
    Measure(
        "chi_square",
        "chi-square per test ray",
        "Whether they can: 1 (dashed) is right, above it the error bars are too small, below it too large.",
        "%.2f",
    ),
)


def write_replay_page(replay: Replay, path: Path) -> Path:
    """Write the page, in place of an older one.

    Raises:
        InputError: its folder is missing or read-only.
    """
    return write_text_whole(render_replay(replay), path)


def render_replay(replay: Replay) -> str:
    """The page as one string of HTML; every name that came from outside is escaped."""
    return chart_page(
        "replay.html.j2",
        scripts=("circle.js", "promises.js", "replay.js"),
        numbers=replay_numbers(replay),
        content={
            "replay": replay,
            "settings": replay.settings,
            "planned": replay.curves["planned"],
            "measures": MEASURES,
            "gains": list(gains(replay)),
            "unbelievable": unbelievable(replay),
            "chi_square_range": CHI_SQUARE_RANGE,
            "spread": random_spread(replay),
            "circles": [name for name in replay.curves if not _is_later(name)],
            "provenance": replay.provenance,
            "config": json.dumps(dict(replay.provenance.config), indent=2, ensure_ascii=False),
        },
    )


@dataclass(frozen=True)
class Gain:
    """Planning against one other way, with all views measured.

    Args:
        name: of the other way; orders at random count together, by their means.
        psnr: of the planned image minus the other's, dB.
        std: of the planned image's error bars minus the other's, in % of those.
    """

    name: str
    psnr: float
    std: float


def gains(replay: Replay) -> Iterator[Gain]:
    """For each other way, in their order."""
    planned = replay.curves["planned"].points[-1]
    others: dict[str, list[Curve]] = {}
    for name, curve in replay.curves.items():
        others.setdefault("random" if name.startswith("random") else name, []).append(curve)
    for name, curves in others.items():
        if name != "planned":
            psnr = statistics.fmean(curve.points[-1].psnr for curve in curves)
            std = statistics.fmean(curve.points[-1].rms_std for curve in curves)
            yield Gain(name, planned.psnr - psnr, 100 * (planned.rms_std / std - 1))


def random_spread(replay: Replay) -> tuple[float, float] | None:
    """Lowest and highest PSNR of orders at random with all views, dB; None for fewer than two."""
    found = [curve.points[-1].psnr for name, curve in replay.curves.items() if name.startswith("random")]
    return (min(found), max(found)) if len(found) > 1 else None


def unbelievable(replay: Replay) -> dict[str, float]:
    """Chi-square with all views of every way whose error bars then are not to be believed."""
    low, high = CHI_SQUARE_RANGE
    last = {name: curve.points[-1].chi_square for name, curve in replay.curves.items()}
    return {name: chi_square for name, chi_square in last.items() if not low <= chi_square <= high}


def replay_numbers(replay: Replay) -> dict[str, Any]:
    """What the page draws: views in degrees in the order they were measured, measures by number of views."""
    curves = []  # the order counts, and the keys of JSON have none
    for name, curve in replay.curves.items():
        values = {measure.name: finite(getattr(point, measure.name) for point in curve.points) for measure in MEASURES}
        degrees = degrees_of([replay.angles_rad[view] for view in curve.views]).tolist()
        views = [point.n_angles for point in curve.points]
        curves.append({"name": name, "views": views, "degrees": degrees, **values})
    points = replay.curves["planned"].points
    return {
        "start": replay.settings.start,
        "measures": [{"name": measure.name, "label": measure.label} for measure in MEASURES],
        "curves": curves,
        "promised": [(point.n_angles, point.promised_std) for point in points if point.promised_std is not None],
        "realised": [(point.n_angles, point.rms_std) for point in points],
    }


def _is_later(name: str) -> bool:
    """Whether it is one of the orders at random after the first."""
    return name.startswith("random-") and name != "random-1"
