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
)
from ctuq.reconstruction import Reconstruction
from ctuq.verdict import judge
from ctuq.whole_file import written_whole

DOTS_PER_INCH = 150


def write_picture(reconstruction: Reconstruction, path: Path) -> Path:
    """Write a PNG of image and deviation, in place of an older one.

    Args:
        reconstruction: what to show.
        path: the file; PNG whatever it ends in.

    Returns:
        The path.

    Raises:
        InputError: its folder is missing or read-only.
    """
    figure = draw_picture(reconstruction)
    with written_whole(path, force=True) as part:
        figure.savefig(part, format="png", dpi=DOTS_PER_INCH)
    return path


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
