"""A GPU: is what it computes right, how long does a slice of the published size take, and at what share of its peak?

python -m tests.benchmarks.gpu [--device cuda|cpu] [--small] [--parts projectors slice60 slice120 lotus volume]

Parts, each of which measures and checks:
  projectors  a slice of 501 x 501 pixels and a cone beam of 167^3 voxels, by exact matrices and by ASTRA's CUDA kernels
  slice60     random ellipses of 501 x 501 pixels from 60 angles x 128 detector pixels, 5 % noise, 1,024 draws
  slice120    the same from 120 angles
  lotus       the real lotus root at 501 x 501 pixels from 60 of its 360 views, against the authors' reference
  volume      ellipsoids of 167^3 voxels from 20 angles of a cone beam

Needs a CUDA device of some 140 GB, and for lotus the folder of data sets (--data). A slice may take ten minutes and
the volume 25; to set one up takes the processor up to a minute and a half besides. --small does the same with 64 x 64
pixels or 16^3 voxels and few steps, in three minutes on one core.

A part's figures are written as soon as it ends, to results/gpu_DEVICE.json, or gpu_DEVICE_small.json. Without --parts
those are run that the file does not have yet, or that broke off; those that are named are run again. A check that fails
is printed and written, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from operators import ray_transform
from tests.benchmarks.cone_volume import SETTINGS, figures, reconstructed, simulated
from tests.benchmarks.environment import RESULTS, SHARED_DATA, environment, results, save
from tests.benchmarks.gpu_projectors import projectors
from tests.benchmarks.gpu_slices import ellipses, lotus

MOST_SECONDS_OF_A_VOLUME = 1500
VOLUME_TOLERANCE = 0.1  # as tests/benchmarks/cone_volume.py sets it
SMALL_VOLUME = ("fit.steps=200", "fit.refit_steps=50", "evidence.max_rays=200", "evidence.max_evaluations=15")

Figures = dict[str, Any]


def volume(device: str, *, small: bool, overrides: Sequence[str]) -> Figures:
    """Figures of a cone beam's volume; with "checks"."""
    size, views, detector = (16, 20, 11) if small else (167, 20, 111)
    settings = (*(SMALL_VOLUME if small else ()), *overrides)
    scan, truth = simulated(size, views, detector, seed=2, lines=2)
    began = time.perf_counter()
    found = reconstructed(scan, size, settings, device=device)
    wall = time.perf_counter() - began
    numbers = figures(found, truth, scan)
    on_time = small or device != "cuda" or wall < MOST_SECONDS_OF_A_VOLUME
    residual = found.diagnostics["worst_sample_residual"]
    return {
        "size": size,
        "views": views,
        "detector": detector,
        "settings": [*SETTINGS, *settings],
        "wall_seconds": wall,
        **numbers,
        "checks": {
            "PSNR above that of Feldkamp's method": numbers["psnr"]
            > max(numbers["psnr_fdk"], numbers["psnr_fdk_hann"]),
            # The passes' rounding may keep a residual next to the tolerance.
            f"residuals of samples within {1.1 * VOLUME_TOLERANCE:g}": residual <= 1.1 * VOLUME_TOLERANCE,
            f"in less than {MOST_SECONDS_OF_A_VOLUME} s": on_time,
        },
    }


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "projectors": lambda asked: projectors(asked.device, small=asked.small),
    # Toys have 24 angles, and half as many again.
    "slice60": lambda asked: ellipses(
        24 if asked.small else 60, asked.device, small=asked.small, overrides=asked.overrides
    ),
    "slice120": lambda asked: ellipses(
        36 if asked.small else 120, asked.device, small=asked.small, overrides=asked.overrides
    ),
    "lotus": lambda asked: lotus(asked.data, asked.device, small=asked.small, overrides=asked.overrides),
    "volume": lambda asked: volume(asked.device, small=asked.small, overrides=asked.overrides),
}


def run(name: str, asked: argparse.Namespace) -> Figures:
    """One part: its figures and checks, the machine and the memory; or how it broke off."""
    forget()
    began = time.perf_counter()
    try:
        found = PARTS[name](asked)
    except Exception as error:  # noqa: BLE001  whatever it is, the other parts are to have their turn
        print(traceback.format_exc(), flush=True)
        found = {"error": f"{type(error).__name__}: {error}", "checks": {"ends without an error": False}}
    found |= {"seconds": time.perf_counter() - began, "ran_on": environment()}
    found["host_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of all parts so far
    if asked.device == "cuda":
        found["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def forget() -> None:
    """Give back what an earlier part holds, so that the next one has all the memory, and a peak of its own."""
    ray_transform._shared_cone_matrix.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def printed(name: str, found: Figures) -> None:
    """One line a figure, and what failed last."""
    for key, value in found.items():
        if key not in ("checks", "ran_on", "diagnostics"):
            print(f"{name}: {key} {value}")
    for what, held in found["checks"].items():
        if not held:
            print(f"{name}: FAILED: {what}")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="toys, for a look at the same code in minutes")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="default: those that the file does not have")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="settings other than the benchmark's")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="the folder that has fips_lotus")
    parser.add_argument("--name", default="gpu", help="beginning of the file's name in results/; none writes nothing")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device, got none: try --device cpu --small")
    name = f"{asked.name}_{asked.device}{'_small' if asked.small else ''}"
    written = asked.name != "none"
    there: dict[str, Figures] = results(name)["parts"] if written and (RESULTS / f"{name}.json").exists() else {}
    failed = False
    for part in asked.parts or [part for part in PARTS if "error" in there.get(part, {"error": "none yet"})]:
        there[part] = run(part, asked)
        printed(part, there[part])
        failed = failed or not all(there[part]["checks"].values())
        if written:
            print("written to", save(name, {"device": asked.device, "small": asked.small, "parts": there}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
