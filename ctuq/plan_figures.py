"""A plan on a circle: what was measured, what each candidate promised, and what was chosen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from ctuq.angle_plan import AnglePlan
from ctuq.figures import ON_WHITE, Inks
from ctuq.whole_file import written_whole

DOTS_PER_INCH = 150
_UNITS = {"1/mm2": "1/mm²", "nat": "nats"}


def write_plan_picture(plan: AnglePlan, path: Path) -> Path:
    """Write a PNG of a plan, in place of an older one.

    Raises:
        InputError: its folder is missing or read-only.
    """
    figure = draw_plan(plan)
    with written_whole(path, force=True) as part:
        figure.savefig(part, format="png", dpi=DOTS_PER_INCH)
    return path


def draw_plan(plan: AnglePlan) -> Figure:
    """The circle on the left, the deviation that is promised on the right."""
    figure = Figure(figsize=(11.0, 5.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    circle = figure.add_subplot(1, 2, 1, projection="polar")
    assert isinstance(circle, PolarAxes)  # noqa: S101  what add_subplot was asked for, which its type does not say
    draw_circle(circle, plan)
    draw_promise(figure.add_subplot(1, 2, 2), plan)
    # A name may hold dollar signs, which are no mathematics.
    figure.suptitle(f"{plan.scan_name}: views to measure next", color=ON_WHITE.text, parse_math=False)
    return figure


def draw_circle(axes: PolarAxes, plan: AnglePlan, inks: Inks = ON_WHITE) -> None:
    """Views at their angles: scores before any choice as a curve, chosen views numbered, measured ones as ticks."""
    angles, scores = plan.candidates_rad.numpy(), plan.candidate_scores.numpy()
    order = np.argsort(np.mod(angles, 2 * math.pi))
    low, high = _radii(scores)
    axes.plot(angles[order], scores[order], ".", color=inks.rule, markersize=3, label="candidates, before any choice")
    axes.vlines(
        plan.measured_rad.numpy(),
        high * 1.04,
        high * 1.14,
        color=inks.text,
        linewidth=1.2,
        label=f"{len(plan.measured_rad)} measured views",
    )
    for rank, angle in enumerate(plan.angles_rad.tolist()):
        axes.plot([angle, angle], [low, high], color=inks.second, linewidth=0.9, alpha=0.7)
        axes.annotate(
            str(rank + 1),
            (angle, high * 1.22),
            color=inks.second,
            ha="center",
            va="center",
            fontsize="small",
            annotation_clip=False,
        )
    axes.plot([], [], color=inks.second, label="chosen, the most telling first")
    axes.set_ylim(low, high * 1.28)
    axes.set_yticks(np.linspace(low, high, 4)[1:])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.3g"))
    axes.tick_params(colors=inks.text, labelsize="small")
    axes.grid(color=inks.rule, linewidth=0.4)
    axes.set_title(f"score ({_UNITS.get(plan.unit, plan.unit)}) by view angle", color=inks.text, fontsize="medium")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), frameon=False, fontsize="small", labelcolor=inks.text)


def draw_promise(axes: Axes, plan: AnglePlan, inks: Inks = ON_WHITE) -> None:
    """Deviation of the region against the number of views."""
    views = len(plan.measured_rad) + np.arange(len(plan.region_std))
    axes.plot(views, plan.region_std.numpy(), color=inks.first, marker="o", markersize=3.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("views", color=inks.text)
    axes.set_ylabel("deviation promised, root mean square (1/mm)", color=inks.text)
    axes.grid(color=inks.rule, linewidth=0.4)
    axes.tick_params(colors=inks.rule, labelcolor=inks.text)


def _radii(scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float]:
    """From the centre to the best score: not from zero where all scores are alike, or nothing is seen of them."""
    finite = scores[np.isfinite(scores)]
    low, high = float(finite.min()), float(finite.max())
    start = max(0.0, low - 1.5 * (high - low))
    return start, high if high > start else start + 1.0
