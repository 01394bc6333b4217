"""KMNIST test images with errors and deviations, a picture for README, and the seconds they took; writes PNG and JSON.

python -m tests.benchmarks.kmnist_figure [--images 3]

20 angles, 5 % noise. Run it on idle cores: the seconds are a figure of merit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import scipy.stats
import torch
from matplotlib.figure import Figure

import ctuq
from tests.benchmarks.environment import SHARED_DATA, save
from tests.benchmarks.kmnist import CONFIG, simulate

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "kmnist.png"
LEVELS = np.linspace(0.02, 0.98, 49)
OBJECT = 0.1  # the mean is above it, or one of the pixels around: no bare background


def draw(truths: list[np.ndarray], found: list[ctuq.Reconstruction]) -> Figure:
    """A row an image: truth, image, error, deviation; and the coverage of all their pixels."""
    figure = Figure(figsize=(12, 2.3 * len(found)), layout="constrained")
    grid = figure.add_gridspec(len(found), 7)
    for row, (truth, one) in enumerate(zip(truths, found, strict=True)):
        error = np.abs(truth - one.image.numpy())
        largest = max(float(error.max()), float(one.std.max()))
        panels = (
            ("truth", truth, 1.0),
            ("image", one.image, 1.0),
            ("|error|", error, largest),
            ("deviation", one.std, largest),
        )
        for col, (title, values, top) in enumerate(panels):
            axes = figure.add_subplot(grid[row, col])
            drawn = axes.imshow(np.asarray(values), vmin=0, vmax=top, cmap="gray" if top == 1.0 else "inferno")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title)
            if col == 3:
                figure.colorbar(drawn, ax=axes, shrink=0.8)
    _coverage(figure, grid[:, 4:], truths, found)
    return figure


def _coverage(
    figure: Figure, place: mpl.gridspec.SubplotSpec, truths: list[np.ndarray], found: list[ctuq.Reconstruction]
) -> None:
    axes = figure.add_subplot(place)
    z = np.stack(
        [np.abs(truth - one.image.numpy()) / one.std.numpy() for truth, one in zip(truths, found, strict=True)]
    )
    images = torch.stack([one.image for one in found])
    near = torch.nn.functional.max_pool2d(images[:, None], 3, stride=1, padding=1)[:, 0].numpy() > OBJECT
    bounds = scipy.stats.norm.ppf(0.5 + LEVELS / 2)
    for name, scores in {"all pixels": z.ravel(), "in or beside a stroke": z[near]}.items():
        axes.plot(LEVELS, [(scores <= bound).mean() for bound in bounds], label=name)
    axes.plot([0, 1], [0, 1], "k--", linewidth=0.8, label="right")
    axes.set_xlabel("interval")
    axes.set_ylabel("share of pixels inside")
    axes.set_aspect("equal")
    axes.legend()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    truths = list(np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["test"][: options.images] / 255.0)
    found, rows = [], []
    for index, truth in enumerate(truths):
        scan, _ = simulate(truth, index, 20, 0.05)
        started = time.perf_counter()
        found.append(ctuq.reconstruct(scan, ctuq.load_config(CONFIG)))
        rows.append({"seconds": time.perf_counter() - started, **found[-1].provenance.stage_seconds})
        print(index, {name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    draw(truths, found).savefig(PICTURE, dpi=110)
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print("median", median, "written to", PICTURE, save("kmnist_seconds", {"median": median, "images": rows}))


if __name__ == "__main__":
    main()
