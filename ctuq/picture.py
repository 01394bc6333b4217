"""The picture: image and deviation in 1/mm and mm, of a volume in three planes, with the verdict below."""

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
    draw_plane,
    image_limits,
    write_png,
)
from ctuq.reconstruction import Reconstruction
from ctuq.verdict import judge
from ctuq.volume_slices import orthogonal_slices
from operators import ImageGrid, VolumeGrid


def write_picture(reconstruction: Reconstruction, path: Path) -> Path:
    """Write image and deviation; see `write_png`."""
    return write_png(draw_picture(reconstruction), path)


def draw_picture(reconstruction: Reconstruction) -> Figure:
    """The picture as a figure of its own."""
    grid = reconstruction.grid
    figure = _volume(reconstruction, grid) if isinstance(grid, VolumeGrid) else _image(reconstruction, grid)
    verdict = judge(reconstruction.calibration)
    # A name may hold dollar signs, which are no mathematics.
    figure.suptitle(_shortened(reconstruction.provenance.scan_name), color=ON_WHITE.text, parse_math=False)
    figure.supxlabel(
        f"error bars {verdict.line}", color="#14662b" if verdict.calibrated else "#a3200d", fontsize="medium"
    )
    return figure


def _image(reconstruction: Reconstruction, grid: ImageGrid) -> Figure:
    figure = Figure(figsize=(11.5, 5.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    image, std = reconstruction.image.cpu().numpy(), reconstruction.std.cpu().numpy()
    draw_map(left, image, grid, limits=image_limits(image), colours=IMAGE_COLOURS)
    draw_colour_bar(left, image, label="attenuation (1/mm)")
    draw_map(right, std, grid, limits=deviation_limits(std), colours=DEVIATION_COLOURS)
    draw_colour_bar(right, std, label="standard deviation (1/mm)")
    left.set_title("image")
    right.set_title("standard deviation")
    return figure


def _volume(reconstruction: Reconstruction, grid: VolumeGrid) -> Figure:
    """Three planes through the middle, their images above their deviations, each row in one scale."""
    figure = Figure(figsize=(13.5, 8.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2, 3)
    planes = orthogonal_slices(reconstruction, grid)
    image, std = reconstruction.image.cpu().numpy(), reconstruction.std.cpu().numpy()
    scales = ((image_limits(image), IMAGE_COLOURS), (deviation_limits(std), DEVIATION_COLOURS))
    for axes_of_row, name, values, (limits, colours) in zip(rows, ("image", "std"), (image, std), scales, strict=True):
        for axes, plane in zip(axes_of_row, planes, strict=True):
            draw_plane(
                axes,
                getattr(plane, name),
                extent_mm=plane.extent_mm,
                labels=plane.labels,
                limits=limits,
                colours=colours,
            )
        what = "attenuation" if name == "image" else "standard deviation"
        draw_colour_bar(axes_of_row[-1], values, label=f"{what} (1/mm)")
    for axes, plane in zip(rows[0], planes, strict=True):
        axes.set_title(f"{plane.axis} = {plane.place_mm:.4g} mm")
    for axes in rows[1]:
        axes.set_title("standard deviation")
    return figure


def _shortened(name: str, length: int = 100) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
