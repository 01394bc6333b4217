"""Rows that start from the row before, against rows that start from random weights, and the error bars of both.

python -m tests.benchmarks.neighbour_start [--cases ellipses tooth] [--seeds 1] [--rows 6] [--set ...]

Ellipses that change a little from row to row, 64x64 pixels from 45 views with 5 % noise, drawn and projected on pixels
of half the side; seed 0 was for choosing settings, seed 1 is reported. Tooth: both rows of the scan of the TomoPy
repository at 64x64 pixels from every third view, against our filtered back-projection of all views, which has errors of
its own. A row after the first starts from the weights that the row before it hands on, with a third of fit.steps; from
random weights with all of them; and from random weights with a third. Of each: PSNR, chi-square and coverage of the
test rays, coverage of the pixels of truth or reference, and seconds of one core, as the processor counts them; the
fit's are of the clock. All rows hold out the views of the first, so that they differ by their start alone. A small
network and few rays to learn from keep all of it below ten minutes of one core. Writes results/neighbour_start.json.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import ctuq
from ctuq.preparation import prepare
from ctuq.scan_file import read_scan
from operators import ImageGrid, ParallelBeam, RayTransform, filtered_back_projection
from tests.benchmarks.environment import SHARED_DATA, save

SIZE, VIEWS, NOISE = 64, 45, 0.05
FINER = 2
LARGEST_1_PER_MM = 0.05
ELLIPSES = 8
DRIFT = 0.015  # of places and semi-axes from row to row, in halves of the image's side
SETTINGS = (
    f"grid.size={SIZE}",
    "network.channels=[12, 12]",
    "network.skip_channels=[4]",
    "fit.steps=500",
    "fit.refit_steps=150",
    "evidence.max_rays=700",
    "posterior.n_samples=64",
)
"""What differs from the defaults, for time."""

WARM, ALL, THIRD = "warm, a third", "random, all", "random, a third"
FIRST = "first: random, all"
SCORES = (
    "psnr_db",
    "chi_square",
    "coverage_95_test_rays",
    "coverage_95_pixels",
    "coverage_95_pixels_of_object",
    "rms_z_pixels",
    "fit_seconds",
    "core_seconds",
)
TOOTH = SHARED_DATA / "tooth" / "tooth.h5"
TOOTH_AXIS = 295.6  # as tests.benchmarks.tooth_axis finds it
TOOTH_STEP = 3

Row = tuple[ctuq.Scan, Tensor]
"""A scan, and the image that its reconstruction is held against, 1/mm."""


def slices(n_rows: int, seed: int) -> list[Tensor]:
    """Images (row, col) float64 in 1/mm: a body and ellipses in it, which drift from one to the next."""
    rng = np.random.default_rng(seed)
    at = (2 * np.arange(FINER * SIZE) + 1) / (FINER * SIZE) - 1
    radii, centres = rng.uniform(0.06, 0.25, (ELLIPSES, 2)), rng.uniform(-0.5, 0.5, (ELLIPSES, 2))
    values, angles = rng.uniform(-0.6, 0.6, ELLIPSES), rng.uniform(0, np.pi, ELLIPSES)
    moves, grows = rng.standard_normal((2, ELLIPSES, 2)) * DRIFT
    found = []
    for row in range(n_rows):
        image = _ellipse(at, np.zeros(2), np.array([0.8, 0.7]) + DRIFT * row / 3, 0.3)
        for value, centre, radius, angle in zip(
            values, centres + row * moves, np.maximum(radii + row * grows / 2, 0.04), angles, strict=True
        ):
            image += value * _ellipse(at, centre, radius, angle) * (image > 0)
        found.append(torch.as_tensor(LARGEST_1_PER_MM * np.maximum(image, 0)))
    return found


def _ellipse(
    at: NDArray[np.float64], centre: NDArray[np.float64], radii: NDArray[np.float64], angle: float
) -> NDArray[np.float64]:
    x, y = at - centre[0], at[:, None] - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray(np.hypot(along / radii[0], across / radii[1]) < 1, dtype=np.float64)


def ellipses(n_rows: int, seed: int) -> list[Row]:
    """Rows on pixels of 1 mm, from views of a half turn."""
    found = []
    for row, fine in enumerate(slices(n_rows, seed)):
        geometry = ParallelBeam(
            grid=ImageGrid(shape=(FINER * SIZE, FINER * SIZE), pixel_mm=1 / FINER),
            angles_rad=np.linspace(0, np.pi, VIEWS, endpoint=False),
            n_detectors=SIZE,
        )
        rays = RayTransform(geometry)(fine)
        generator = torch.Generator().manual_seed(1000 * seed + row)
        noise = NOISE * rays.mean() * torch.randn(rays.shape, generator=generator, dtype=rays.dtype)
        coarse = geometry.with_grid(ImageGrid(shape=(SIZE, SIZE)))
        truth = functional.avg_pool2d(fine[None], FINER)[0]
        found.append((ctuq.Scan(rays + noise, coarse, name=f"ellipses {seed} row {row}"), truth))
    return found


def tooth() -> list[Row]:
    """Both rows. The file's angles end at 179 degrees, but the last view mirrors the first, at 180."""
    found = []
    for row in (0, 1):
        scan = read_scan(TOOTH, row=row)
        geometry = replace(scan.planar, angles_rad=np.radians(np.arange(181.0)), cor_index=TOOTH_AXIS)
        scan = replace(scan, geometry=geometry)
        every = prepare(scan, ctuq.load_config(overrides=SETTINGS))
        found.append((scan, filtered_back_projection(every.geometry, every.sinogram).double()))
    return found


def scored(found: ctuq.Reconstruction, truth: Tensor, seconds: float) -> dict[str, float]:
    """What a row's reconstruction is worth, and what it took."""
    error, calibration = found.image.double() - truth, found.calibration
    z = error / found.std.double()
    inside = (z.abs() < 1.96).double()
    return {
        "psnr_db": float(10 * torch.log10(truth.max() ** 2 / error.square().mean())),
        "chi_square": calibration.chi_square,
        "chi_square_error": calibration.chi_square_error,
        "coverage_95_test_rays": calibration.coverage_95,
        "coverage_error": calibration.coverage_error,
        "coverage_95_pixels": float(inside.mean()),
        "coverage_95_pixels_of_object": float(inside[truth > 0.2 * truth.max()].mean()),
        "rms_z_pixels": float(z.square().mean().sqrt()),
        "median_std_per_mm": float(found.std.median()),
        "chosen_step": found.diagnostics["chosen_step"],
        "temperature": calibration.temperature,
        "fit_seconds": found.provenance.stage_seconds["fit"],
        "core_seconds": seconds,
    }


def compared(rows: Sequence[Row], overrides: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """Scores of every row by every start; the first, which all others follow, has one only."""
    steps = ctuq.load_config(overrides=overrides).fit.steps
    starts = {WARM: ["fit.init=neighbour"], ALL: [], THIRD: [f"fit.steps={-(-steps // 3)}"]}
    before: ctuq.Neighbour | None = None
    for row, (scan, truth) in enumerate(rows):
        handed_on = before
        for start in starts if row else (ALL,):
            config = ctuq.load_config(overrides=[*overrides, *starts[start]])
            # What is held out goes by the name: of random starts the first row's, as it is of warm ones.
            given = scan if start == WARM else replace(scan, name=rows[0][0].name)
            began = time.process_time()
            found = ctuq.reconstruct(given, config, seed=seed, neighbour=before if start == WARM else None)
            seconds = time.process_time() - began
            if start == WARM or not row:
                handed_on = found.neighbour
            yield {"row": row, "start": start if row else FIRST, **scored(found, truth, seconds)}
        before = handed_on


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of the rows after the first, by start."""
    return {
        start: {name: statistics.fmean(row[name] for row in rows if row["start"] == start) for name in SCORES}
        for start in (WARM, ALL, THIRD)
        if any(row["start"] == start for row in rows)
    }


def told(name: str, figures: dict[str, dict[str, float]]) -> None:
    """A table."""
    print(f"{name:18}", *(f"{score.replace('coverage_95_', 'in 95 %: '):>27}" for score in SCORES))
    for start, scores in figures.items():
        print(f"{start:18}", *(f"{scores[score]:27.4g}" for score in SCORES))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=("ellipses", "tooth"), default=["ellipses", "tooth"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of ellipses, their noise and their fits")
    parser.add_argument("--rows", type=int, default=6, help="of ellipses")
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="neighbour_start", help="of the JSON file in results/")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    runs: dict[str, tuple[Callable[[], list[Row]], list[str], int]] = {}
    for case in options.cases:
        if case == "tooth":
            runs[case] = tooth, [f"scan.angle_step={TOOTH_STEP}"], 0
        for seed in options.seeds if case == "ellipses" else ():
            runs[f"{case} {seed}"] = functools.partial(ellipses, options.rows, seed), [], seed
    content: dict[str, Any] = {}
    for name, (scans, more, seed) in runs.items():
        overrides, rows = [*SETTINGS, *more, *options.set], []
        for row in compared(scans(), overrides, seed):
            rows.append(row)
            print(name, {key: value if isinstance(value, str) else float(f"{value:.4g}") for key, value in row.items()})
            content[name] = {"overrides": overrides, "mean_after_the_first": means(rows), "rows": rows}
            path = save(options.name, {"cases": content})
        told(name, content[name]["mean_after_the_first"])
        print("written to", path, flush=True)


if __name__ == "__main__":
    main()
