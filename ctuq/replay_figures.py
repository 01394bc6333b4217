"""The figures of a replay's page."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctuq.figures import ink_axes
from ctuq.replay import Replay
from ctuq.svg import PAGE_INKS, svg_element

_LABELS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "mean_std": "mean standard deviation (1/mm)",
    "chi_square": "chi-square per held-out ray",
}
_MARKS = {"planned": "o", "equidistant": "s", "golden": "^"}


def replay_figures(replay: Replay) -> dict[str, str]:
    """SVG elements: a chart for every measure, the planned views on a circle, and what was promised of them."""
    figures = {}
    for name, label in _LABELS.items():
        figure = Figure(figsize=(5.2, 3.9), layout="constrained", facecolor="none")
        _draw_curves(figure.subplots(), replay, name, label)
        figures[name] = svg_element(figure, name)
    figure = Figure(figsize=(5.2, 3.9), layout="constrained", facecolor="none")
    _draw_promises(figure.subplots(), replay)
    figures["promised"] = svg_element(figure, "promised")
    figure = Figure(figsize=(5.2, 4.6), layout="constrained", facecolor="none")
    _draw_views(figure.add_subplot(projection="polar"), replay)
    figures["views"] = svg_element(figure, "views")
    return figures


def _draw_curves(axes: Axes, replay: Replay, name: str, label: str) -> None:
    n_random = 0
    for strategy, curve in replay.curves.items():
        n_angles = [point.n_angles for point in curve.points]
        values = [getattr(point, name) for point in curve.points]
        if strategy.startswith("random"):
            n_random += 1
            axes.plot(n_angles, values, ":", color=PAGE_INKS.rule, label="random" if n_random == 1 else None)
            continue
        planned = strategy == "planned"
        axes.plot(
            n_angles,
            values,
            color=PAGE_INKS.second if planned else PAGE_INKS.first,
            linestyle="-" if planned else "--",
            marker=_MARKS[strategy],
            markersize=4,
            label=strategy,
        )
    axes.set_xlabel("views")
    axes.set_ylabel(label)
    _finish(axes)


def _draw_promises(axes: Axes, replay: Replay) -> None:
    points = replay.curves["planned"].points
    n_angles = [point.n_angles for point in points]
    axes.plot(n_angles, [p.rms_std for p in points], "o-", color=PAGE_INKS.second, markersize=4, label="realised")
    promised = [math.nan if p.promised_std is None else p.promised_std for p in points]
    axes.plot(n_angles, promised, "x", color=PAGE_INKS.first, markersize=7, label="promised")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("views")
    axes.set_ylabel("deviation, root mean square (1/mm)")
    _finish(axes)


def _draw_views(axes: Axes, replay: Replay) -> None:
    """Later views further out, so that the order can be seen."""
    views = replay.curves["planned"].views
    angles = [replay.angles_rad[view] for view in views]
    start = replay.settings.start
    radii = range(1, len(views) + 1)
    axes.plot(angles[:start], list(radii)[:start], "o", color=PAGE_INKS.first, markersize=5, label="start")
    axes.plot(angles[start:], list(radii)[start:], "o", color=PAGE_INKS.second, markersize=5, label="planned")
    axes.set_ylim(0, len(views) + 1)
    axes.set_yticks([n for n in replay.settings.points if n > 0])
    axes.grid(color=PAGE_INKS.rule, linewidth=0.4)
    axes.tick_params(colors=PAGE_INKS.rule, labelcolor=PAGE_INKS.text)
    axes.spines["polar"].set_color(PAGE_INKS.rule)
    # Beside the circle, which leaves no room inside.
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.25, -0.1), frameon=False, fontsize="small", labelcolor=PAGE_INKS.text
    )


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ink_axes(axes, PAGE_INKS)
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize="small", labelcolor=PAGE_INKS.text)
