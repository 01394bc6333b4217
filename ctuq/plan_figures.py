"""The picture of a plan: what was measured and chosen on a circle, what each view tells, and what is promised."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ctuq.angle_plan import AnglePlan
from ctuq.criteria import unit_in_words
from ctuq.figures import ON_WHITE, Inks, ink_axes, write_png
from ctuq.rays import degrees_of

_INNER = 0.38  # where spokes of measured views end, as a share of the radius
_NUMBERED = 24  # more numbers than these would cover each other
_DISC = 170.0  # has room for a number


def write_plan_picture(plan: AnglePlan, path: Path) -> Path:
    """Write the picture of a plan; see `write_png`."""
    return write_png(draw_plan(plan), path)


def draw_plan(plan: AnglePlan) -> Figure:
    """Where the views are, what each tells, and the deviation that is promised."""
    figure = Figure(figsize=(15.0, 5.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    circle = figure.add_subplot(1, 3, 1, projection="polar")
    assert isinstance(circle, PolarAxes)  # noqa: S101  what add_subplot was asked for, which its type does not say
    draw_circle(circle, plan)
    draw_gains(figure.add_subplot(1, 3, 2), plan)
    draw_promise(figure.add_subplot(1, 3, 3), plan)
    # A name may hold dollar signs, which are no mathematics.
    figure.suptitle(f"{plan.scan_name}: views to measure next", color=ON_WHITE.text, parse_math=False)
    return figure


def draw_circle(axes: PolarAxes, plan: AnglePlan, inks: Inks = ON_WHITE) -> None:
    """Measured views as spokes from the centre; beyond them the chosen ones, numbered from the inside outwards."""
    measured, chosen = plan.measured_rad.numpy(), plan.angles_rad.numpy()
    n = len(chosen)
    radii = _INNER + (1 - _INNER) * np.arange(1, n + 1) / (n + 1)
    axes.vlines(measured, 0, _INNER, color=inks.rule, linewidth=1.5, label=f"measured ({len(measured)})")
    axes.vlines(chosen, _INNER, radii, color=inks.second, linewidth=0.8, alpha=0.6)
    axes.scatter(
        chosen, radii, s=_DISC if n <= _NUMBERED else 20, color=inks.second, zorder=3, label=f"to measure ({n})"
    )
    if n <= _NUMBERED:
        _number(axes, chosen, radii)
    # Parallel rays say the same from the other side.
    every = np.concatenate([measured, chosen])
    half = bool(np.all((every >= 0) & (every <= math.pi + 1e-9)))
    axes.set_thetalim(0, math.pi if half else 2 * math.pi)
    axes.set_ylim(0, 1.04)
    axes.set_yticks([])
    axes.tick_params(colors=inks.text, labelsize="small")
    axes.grid(color=inks.rule, linewidth=0.4)
    axes.spines["polar"].set_color(inks.rule)
    axes.set_title("view angles; numbers: the most telling first", color=inks.text, fontsize="medium")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.1 if half else -0.06),
        ncols=2,
        frameon=False,
        fontsize="small",
        labelcolor=inks.text,
    )


def draw_gains(axes: Axes, plan: AnglePlan, inks: Inks = ON_WHITE) -> None:
    """Score against angle: of every candidate before any was chosen, of the chosen ones in their turn."""
    considered = plan.candidates_rad.argsort()
    degrees, before = degrees_of(plan.candidates_rad[considered]), plan.candidate_scores[considered].numpy()
    chosen, scores = degrees_of(plan.angles_rad), plan.scores.numpy()
    axes.plot(degrees, before, color=inks.first, linewidth=1.2, label="before any was chosen")
    size = _DISC if len(chosen) <= _NUMBERED else 20
    axes.scatter(chosen, scores, s=size, color=inks.second, zorder=3, label="chosen, in this order")
    if len(chosen) <= _NUMBERED:
        _number(axes, chosen, scores)
    top = max(float(np.nanmax(np.where(np.isfinite(before), before, np.nan), initial=0)), *scores.tolist(), 1e-300)
    axes.vlines(degrees_of(plan.measured_rad), 0, 0.03 * top, color=inks.text, linewidth=1.2, label="measured")
    axes.set_ylim(0, 1.08 * top)
    axes.set_xlabel("view angle (°)")
    axes.set_ylabel(f"score ({unit_in_words(plan.unit)})")
    axes.grid(color=inks.rule, linewidth=0.4)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
    ink_axes(axes, inks)


def draw_promise(axes: Axes, plan: AnglePlan, inks: Inks = ON_WHITE) -> None:
    """Deviation of the region against the number of views."""
    views = len(plan.measured_rad) + np.arange(len(plan.region_std))
    promised = plan.region_std.numpy()
    axes.plot(views, promised, color=inks.first, marker="o", markersize=3.5)
    axes.set_ylim(0, 1.08 * float(promised.max()) or 1.0)  # the first one is the highest, and its dot a whole one
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("views")
    axes.set_ylabel("deviation promised, root mean square (1/mm)")
    axes.grid(color=inks.rule, linewidth=0.4)
    ink_axes(axes, inks)


def _number(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    for rank, place in enumerate(zip(x, y, strict=True), start=1):
        axes.annotate(str(rank), place, color="white", ha="center", va="center_baseline", fontsize=8, zorder=4)
