"""Drawing on matplotlib axes. Objects only: no pyplot, no state to leave behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from ctuq.whole_file import written_whole
from operators import ImageGrid

IMAGE_COLOURS = "gray"
"""Lightness grows evenly with attenuation, as on every CT console."""

DEVIATION_COLOURS = "inferno"
"""Perceptually uniform, and not to be mistaken for the image."""

_DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Inks:
    """Colours of everything that is not data: text and frames, thin rules, two curves."""

    text: str
    rule: str
    first: str
    second: str


ON_WHITE = Inks(text="#1b1f24", rule="#b8bec6", first="#0b5cad", second="#b4530a")


def write_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whatever its name ends in, in place of an older file.

    Returns:
        The path.

    Raises:
        InputError: its folder is missing or read-only.
    """
    with written_whole(path, force=True) as part:
        figure.savefig(part, format="png", dpi=_DOTS_PER_INCH)
    return path


def image_limits(image: NDArray[Any]) -> tuple[float, float]:
    """Range of values to show, 1/mm: all but the most extreme tenth of a per cent at either end."""
    low, high = _extremes(image)
    return low, _above(low, high)


def deviation_limits(std: NDArray[Any]) -> tuple[float, float]:
    """Range of deviations to show, from zero, so that a map that looks flat is flat."""
    return 0.0, _above(0.0, _extremes(std)[1])


def _extremes(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [0.1, 99.9])
    return float(low), float(high)


def _above(low: float, high: float) -> float:
    """`high`, or a little more than `low` where everything is equal: a colour bar needs some length."""
    return high if high > low else low + max(abs(low), 1e-6)


def draw_map(
    axes: Axes,
    values: NDArray[Any],
    grid: ImageGrid,
    *,
    limits: tuple[float, float],
    colours: str,
    inks: Inks = ON_WHITE,
) -> None:
    """Draw one map with axes in mm, x right and y up.

    Args:
        axes: where to draw.
        values: (rows, cols), or fewer pixels over the same field.
        grid: the field the map covers.
        limits: values that get the first and the last colour.
        colours: name of a matplotlib colour map.
        inks: colours of frame and text.
    """
    height, width = grid.extent_mm
    extent = (-width / 2, width / 2, -height / 2, height / 2)
    draw_plane(axes, values, extent_mm=extent, labels=("x", "y"), limits=limits, colours=colours, inks=inks)


def draw_plane(
    axes: Axes,
    values: NDArray[Any],
    *,
    extent_mm: tuple[float, float, float, float],
    labels: tuple[str, str],
    limits: tuple[float, float],
    colours: str,
    inks: Inks = ON_WHITE,
) -> None:
    """Draw one plane with axes in mm.

    Args:
        axes: where to draw.
        values: (up, right), the uppermost row first.
        extent_mm: left, right, bottom, top.
        labels: of what runs to the right and up.
        limits: values that get the first and the last colour.
        colours: name of a matplotlib colour map.
        inks: colours of frame and text.
    """
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent_mm, interpolation="none")
    axes.set_xlabel(f"{labels[0]} (mm)")
    axes.set_ylabel(f"{labels[1]} (mm)")
    ink_axes(axes, inks)


def draw_colour_bar(axes: Axes, values: NDArray[Any], *, label: str, inks: Inks = ON_WHITE) -> None:
    """Put a colour bar beside a map that is drawn; it grows an arrow where `values` go beyond it.

    Args:
        axes: of the map.
        values: what the map shows.
        label: with unit.
        inks: colours of frame and text.
    """
    shown = axes.images[0]
    low, high = shown.get_clim()
    finite = values[np.isfinite(values)]
    below = bool(finite.size) and finite.min() < low
    above = bool(finite.size) and finite.max() > high
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
    plain = ScalarFormatter()
    plain.set_powerlimits((-4, 4))  # 0.002 rather than 2 and a factor in a corner
    bar = shown.figure.colorbar(shown, ax=axes, extend=extend, fraction=0.046, pad=0.03, format=plain)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # one small bitmap instead of 256 rectangles with seams
    bar.outline.set_edgecolor(inks.rule)
    bar.ax.tick_params(colors=inks.rule, labelcolor=inks.text)
    bar.set_label(label, color=inks.text)
    bar.ax.yaxis.get_offset_text().set_color(inks.text)


def ink_axes(axes: Axes, inks: Inks) -> None:
    """Give frame, ticks and labels their colours, and let the page shine through."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_edgecolor(inks.rule)
    axes.tick_params(which="both", colors=inks.rule, labelcolor=inks.text)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(inks.text)
