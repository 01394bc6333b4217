"""The picture: image and deviation side by side, in 1/mm and mm, with the verdict on the error bars below."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ctuq.figures import (
    DEVIATION_COLOURS,
    IMAGE_COLOURS,
    ON_WHITE,
    deviation_limits,
    draw_colour_bar,
    draw_map,
    image_limits,
    write_png,
)
from ctuq.reconstruction import Reconstruction
from ctuq.verdict import judge


def write_picture(reconstruction: Reconstruction, path: Path) -> Path:
    """Write image and deviation; see `write_png`."""
    return write_png(draw_picture(reconstruction), path)


def draw_picture(reconstruction: Reconstruction) -> Figure:
    """The picture as a figure of its own."""
    figure = Figure(figsize=(11.5, 5.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    image, std = reconstruction.image.cpu().numpy(), reconstruction.std.cpu().numpy()
    draw_map(left, image, reconstruction.grid, limits=image_limits(image), colours=IMAGE_COLOURS)
    draw_colour_bar(left, image, label="attenuation (1/mm)")
    draw_map(right, std, reconstruction.grid, limits=deviation_limits(std), colours=DEVIATION_COLOURS)
    draw_colour_bar(right, std, label="standard deviation (1/mm)")
    left.set_title("image")
    right.set_title("standard deviation")
    verdict = judge(reconstruction.calibration)
    # A name may hold dollar signs, which are no mathematics.
    figure.suptitle(_shortened(reconstruction.provenance.scan_name), color=ON_WHITE.text, parse_math=False)
    figure.supxlabel(
        f"error bars {verdict.line}", color="#14662b" if verdict.calibrated else "#a3200d", fontsize="medium"
    )
    return figure


def _shortened(name: str, length: int = 100) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
