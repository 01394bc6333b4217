"""One slice of the size that people scan, by the command line with its defaults: time, memory, and what it is worth.

python -m tests.benchmarks.large_slice [--size 256] [--views 60] [--noise 0.05] [--set key=value ...]

Question: do two cores reconstruct 256 x 256 pixels from 60 views, with error bars, in twelve minutes and 10 GB? The
Shepp-Logan phantom, projected on its own finer pixels. Seconds by the clock and of the processor, memory of the
command's process alone; PSNR, and the share of true pixels within their 95 % intervals, inside the object and in all.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import torch
from torch import Tensor
from torch.nn import functional

import ctuq
from tests.benchmarks.environment import save

FINER = 8  # points of the truth along a pixel's side


def command(*arguments: str) -> None:
    """Run a command of ctuq in a process of its own."""
    subprocess.run([sys.executable, "-m", "ctuq", *arguments], check=True)


def on_pixels(fine: Tensor, fine_mm: float, found: ctuq.Reconstruction) -> Tensor:
    """The truth, whose centre is that of the image too, averaged over the image's pixels; 0 outside."""
    n = FINER * len(found.image)
    places = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * found.grid.pixel_mm / FINER  # mm
    place = places / (fine_mm * len(fine) / 2)  # -1 to 1 from edge to edge
    at = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1)
    nearest = functional.grid_sample(fine[None, None], at[None], mode="nearest", align_corners=False)
    return functional.avg_pool2d(nearest, FINER)[0, 0]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="detector pixels, and pixels a side")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.05, help="share of the mean line integral")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="settings other than the defaults")
    parser.add_argument("--name", default="large_slice", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, out = Path(folder) / "scan.h5", Path(folder) / "result.h5"
        size, views, noise = str(options.size), str(options.views), str(options.noise)
        command("simulate", "--out", str(scan), "--views", views, "--detectors", size, "--noise", noise)
        before, wall, load = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), os.getloadavg()[0]
        overrides = [part for override in options.overrides for part in ("--set", override)]
        command("reconstruct", str(scan), "--out", str(out), *overrides)
        seconds, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = ctuq.read_result(out)
        with h5py.File(scan) as file:
            fine, fine_mm = (
                torch.tensor(file["simulation/truth"][()]),
                float(file["simulation/truth"].attrs["pixel_mm"]),
            )
    truth = on_pixels(fine.double(), fine_mm, found)
    error = found.image.double() - truth
    inside = (error.abs() < 1.96 * found.std.double()).double()
    calibration = found.calibration
    figures = {
        "size": options.size,
        "views": options.views,
        "noise": options.noise,
        "settings": options.overrides,
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "load_before": load,
        "memory_gb": after.ru_maxrss / 1e6,
        "stage_seconds": dict(found.provenance.stage_seconds),
        "psnr": float(10 * torch.log10(truth.max() ** 2 / error.square().mean())),
        "pixels_within_95": float(inside.mean()),
        "object_pixels_within_95": float(inside[truth > 0].mean()),
        "rays_within_95": calibration.coverage_95,
        "rays_within_95_error": calibration.coverage_error,
        "chi_square": calibration.chi_square,
        "chi_square_error": calibration.chi_square_error,
        "worst_sample_residual": found.diagnostics["worst_sample_residual"],
        "notes": list(found.provenance.notes),
    }
    for name, value in figures.items():
        print(name, value)
    if options.name != "none":
        print("written to", save(options.name, figures))


if __name__ == "__main__":
    main()
