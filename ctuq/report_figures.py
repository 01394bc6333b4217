"""The report's figures as inline SVG that takes its colours from the page, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ctuq.figures import (
    DEVIATION_COLOURS,
    IMAGE_COLOURS,
    deviation_limits,
    draw_colour_bar,
    draw_coverage,
    draw_fit,
    draw_map,
    draw_scores,
    image_limits,
)
from ctuq.reconstruction import Reconstruction
from ctuq.svg import PAGE_INKS, svg_element
from operators import ImageGrid

# Noise compresses badly: with these sides nine bitmaps stay below 4 MB whatever they show.
MAP_SIDE = 384
SAMPLE_SIDE = 256


@dataclass(frozen=True)
class ReportFigures:
    """SVG elements: three maps, up to three samples, three charts."""

    image: str
    deviation: str
    relative: str
    samples: tuple[str, ...]
    coverage: str
    scores: str
    fit: str


def report_figures(reconstruction: Reconstruction) -> ReportFigures:
    """Draw everything the report shows. Large maps are averaged down for display."""
    image, std = reconstruction.image.cpu().numpy(), reconstruction.std.cpu().numpy()
    grid, calibration = reconstruction.grid, reconstruction.calibration
    relative = relative_deviation(image, std)
    limits = image_limits(image)
    attenuation, deviation, share = "attenuation (1/mm)", "standard deviation (1/mm)", "deviation / attenuation (%)"
    return ReportFigures(
        image=_map("image", image, grid, limits=limits, colours=IMAGE_COLOURS, label=attenuation),
        deviation=_map(
            "deviation", std, grid, limits=deviation_limits(std), colours=DEVIATION_COLOURS, label=deviation
        ),
        relative=_map(
            "relative", relative, grid, limits=(0.0, _upper(relative)), colours=DEVIATION_COLOURS, label=share
        ),
        samples=tuple(
            _sample(f"sample{i}", sample, grid, limits)
            for i, sample in enumerate(reconstruction.samples[:3].cpu().numpy())
        ),
        coverage=_chart("coverage", lambda axes: draw_coverage(axes, calibration, PAGE_INKS)),
        scores=_chart("scores", lambda axes: draw_scores(axes, calibration, PAGE_INKS)),
        fit=_chart("fit", lambda axes: draw_fit(axes, reconstruction, PAGE_INKS)),
    )


def relative_deviation(image: NDArray[Any], std: NDArray[Any]) -> NDArray[Any]:
    """Deviation in % of the attenuation, (rows, cols); NaN where there is too little attenuation to divide by.

    Too little is below a fifth of the image's 99th percentile.
    """
    floor = 0.2 * float(np.percentile(image, 99))
    enough = image > max(floor, 0.0)
    return np.where(enough, 100 * std / np.where(enough, image, 1.0), np.nan)


def averaged_down(values: NDArray[Any], side: int) -> NDArray[Any]:
    """(rows, cols) with neighbouring pixels averaged until no side is longer than `side`; a remainder is repeated."""
    factor = math.ceil(max(values.shape) / side)
    if factor <= 1:
        return values
    pad = [(0, -n % factor) for n in values.shape]
    padded = np.pad(values, pad, mode="edge")
    rows, cols = (n // factor for n in padded.shape)
    return np.asarray(padded.reshape(rows, factor, cols, factor).mean(axis=(1, 3)))


def _map(
    name: str, values: NDArray[Any], grid: ImageGrid, *, limits: tuple[float, float], colours: str, label: str
) -> str:
    figure = Figure(figsize=(5.2, 0.4 + 3.7 * _tall(grid)), layout="constrained", facecolor="none")
    axes = figure.subplots()
    shown = averaged_down(values, MAP_SIDE)
    draw_map(axes, shown, grid, limits=limits, colours=colours, inks=PAGE_INKS)
    draw_colour_bar(axes, shown, label=label, inks=PAGE_INKS)
    return svg_element(figure, name)


def _sample(name: str, values: NDArray[Any], grid: ImageGrid, limits: tuple[float, float]) -> str:
    """Small and without a colour bar: it is the image's."""
    figure = Figure(figsize=(3.4, 0.3 + 3.0 * _tall(grid)), layout="constrained", facecolor="none")
    shown = averaged_down(values, SAMPLE_SIDE)
    draw_map(figure.subplots(), shown, grid, limits=limits, colours=IMAGE_COLOURS, inks=PAGE_INKS)
    return svg_element(figure, name)


def _tall(grid: ImageGrid) -> float:
    rows, cols = grid.shape
    return min(max(rows / cols, 0.4), 2.5)


def _chart(name: str, draw: Callable[[Axes], None]) -> str:
    figure = Figure(figsize=(5.2, 3.9), layout="constrained", facecolor="none")
    draw(figure.subplots())
    return svg_element(figure, name)


def _upper(values: NDArray[Any]) -> float:
    """What nearly all of the finite values stay below; 1 where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, 98)) or 1.0 if finite.size else 1.0
