"""What planned views gave, on simulated and on real scans, and what had been promised of them; a picture for the docs.

python -m tests.benchmarks.planning_figure

From results/rectangles_128.json and results/replay_real_128.json: the images and scans whose planned curve is there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.environment import RESULTS

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "planning.png"
ORDERS = {"equidistant": "#1b1f24", "golden": "#b4530a", "planned": "#0b5cad"}
SEEDS = ("-", "--", ":")


def promised_and_realised(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Of every batch of views of one planned curve: share of the deviation that was to remain, and that remained."""
    rows = sorted((int(n), *stds) for n, stds in curve["std_now_and_promised"].items())
    return [(promised / before, after / before) for (_, before, promised), (_, after, _) in itertools.pairwise(rows)]


def draw(rectangles: Mapping[str, Any], scans: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """PSNR against views, an image or scan a panel group, and promised against realised falls.

    Args:
        rectangles: by image and design.
        scans: by name, seed and order.
    """
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    first, *others, last = figure.subplots(1, 2 + len(scans))
    _views_needed(first, rectangles)
    for axes, (name, seeds) in zip(others, scans.items(), strict=True):
        _replayed(axes, name, seeds)
    planned = {"rectangles": [row["planned"] for row in rectangles.values() if "planned" in row]}
    planned |= {name: [row["planned"] for row in seeds.values() if "planned" in row] for name, seeds in scans.items()}
    _promises(last, planned)
    return figure


def _views_needed(axes: Axes, rectangles: Mapping[str, Any]) -> None:
    for row in rectangles.values():
        if "planned" in row:
            fixed = {int(n): value for n, value in row["equidistant"]["psnr_db"].items()}
            goal = max(fixed.values())
            for name, curve in (("equidistant", fixed), ("planned", row["planned"]["psnr_db"])):
                points = sorted((int(n), value - goal) for n, value in curve.items())
                axes.plot(*zip(*points, strict=True), ".-", color=ORDERS[name], linewidth=0.7)
    axes.axhline(0, color="#b8bec6", linewidth=0.8)
    axes.set_title("rectangles")
    axes.set_xlabel("views")
    axes.set_ylabel("PSNR less that of 30 equidistant views (dB)")


def _replayed(axes: Axes, name: str, seeds: Mapping[str, Mapping[str, Any]]) -> None:
    for style, (seed, orders) in zip(SEEDS, seeds.items(), strict=False):
        for order, curve in orders.items():
            points = sorted((int(n), value) for n, value in curve["psnr_db"].items())
            label = order if seed == min(seeds) else None
            axes.plot(*zip(*points, strict=True), style, color=ORDERS[order], linewidth=1.2, label=label)
    axes.set_title(name)
    axes.set_xlabel("views")
    axes.set_ylabel("PSNR (dB)")
    axes.legend(frameon=False)


def _promises(axes: Axes, planned: Mapping[str, list[Mapping[str, Any]]]) -> None:
    for name, curves in planned.items():
        points = [point for curve in curves for point in promised_and_realised(curve)]
        if points:
            axes.plot(*zip(*points, strict=True), "o", markersize=4, alpha=0.7, label=name)
    axes.axline((0, 0), slope=1, color="#1b1f24", linewidth=0.8, linestyle="--")
    axes.set_title("deviation, 5 views later")
    axes.set_xlabel("promised, of that before")
    axes.set_ylabel("realised")
    axes.legend(frameon=False)


def main() -> None:
    """Draw it."""
    found = [json.loads((RESULTS / f"{name}.json").read_text()) for name in ("rectangles_128", "replay_real_128")]
    scans = {
        name: seeds for name, seeds in found[1]["curves"].items() if any("planned" in row for row in seeds.values())
    }
    draw(found[0]["images"], scans).savefig(PICTURE, dpi=100)
    print("written to", PICTURE)


if __name__ == "__main__":
    main()
