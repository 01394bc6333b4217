"""Time one batched projection against ASTRA's own CPU projector called image by image; writes a table and JSON.

python -m tests.benchmarks.projection_speed [--repeats 40]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import astra
import numpy as np
import torch

from operators import ImageGrid, ParallelBeam, RayTransform

SIZE, N_ANGLES, N_DETECTORS, N_IMAGES = 128, 30, 183, 16
RESULT = Path(__file__).parent / "results" / "projection_speed.json"


def astra_forward(projector: str, images: np.ndarray, angles: np.ndarray) -> Callable[[], np.ndarray]:
    """ASTRA's FP algorithm, set up once; every call projects all images one after the other."""
    volume = astra.create_vol_geom(SIZE, SIZE)
    scan = astra.create_proj_geom("parallel", 1.0, N_DETECTORS, angles)
    projector_id = astra.create_projector(projector, scan, volume)
    image_id, sinogram_id = astra.data2d.create("-vol", volume), astra.data2d.create("-sino", scan)
    config = astra.astra_dict("FP")
    config |= {"ProjectorId": projector_id, "VolumeDataId": image_id, "ProjectionDataId": sinogram_id}
    algorithm_id = astra.algorithm.create(config)
    source, target = astra.data2d.get_shared(image_id), astra.data2d.get_shared(sinogram_id)
    out = np.empty((N_IMAGES, N_ANGLES, N_DETECTORS), np.float32)

    def run() -> np.ndarray:
        for i, image in enumerate(images):
            source[:] = image
            astra.algorithm.run(algorithm_id)
            out[i] = target
        return out

    return run


def ours(kernel: str, images: np.ndarray, angles: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """One call of RayTransform for all images; ASTRA's CPU projectors have one thread only."""
    geometry = ParallelBeam(grid=ImageGrid(shape=(SIZE, SIZE)), angles_rad=angles, n_detectors=N_DETECTORS)
    transform = RayTransform(geometry, kernel="line" if kernel == "line" else "strip")
    batch = torch.from_numpy(images)

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        out: np.ndarray = transform(batch).numpy()
        return out

    return run


def medians(contestants: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every contestant, taking turns so that what else the machine does hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def cpu_model() -> str:
    """The processor's name, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    images = np.random.default_rng(0).random((N_IMAGES, SIZE, SIZE), dtype=np.float32)
    angles = np.linspace(0, math.pi, N_ANGLES, endpoint=False)
    contestants: dict[str, Callable[[], np.ndarray]] = {}
    thread_counts = sorted({1, torch.get_num_threads()})
    for kernel in ("strip", "line"):
        contestants[f"astra {kernel}"] = astra_forward(kernel, images, angles)
        for threads in thread_counts:
            contestants[f"ctuq {kernel}, {threads} threads"] = ours(kernel, images, angles, threads)
        expected, got = contestants[f"astra {kernel}"](), contestants[f"ctuq {kernel}, 1 threads"]()
        # The median view: at 90 degrees lines run exactly between two columns of pixels, and either may count.
        gap = np.linalg.norm(got - expected, axis=(0, 2)) / np.linalg.norm(expected, axis=(0, 2))
        if np.median(gap) > 1e-4:
            raise RuntimeError(f"{kernel}: ctuq and ASTRA must agree to 1e-4, got {np.median(gap):.1e}")
    seconds = medians(contestants, repeats)
    per_image = {name: statistics.median(values) / N_IMAGES for name, values in seconds.items()}
    ratio = {
        f"{kernel}, {threads} threads": per_image[f"astra {kernel}"] / per_image[f"ctuq {kernel}, {threads} threads"]
        for kernel in ("strip", "line")
        for threads in thread_counts
    }
    for name, value in per_image.items():
        sys.stdout.write(f"{name:18s} {value * 1e3:8.3f} ms an image\n")
    for kernel, value in ratio.items():
        sys.stdout.write(f"{kernel:18s} {value:8.1f} times as fast\n")
    result = {
        "images": N_IMAGES,
        "image": [SIZE, SIZE],
        "angles": N_ANGLES,
        "detectors": N_DETECTORS,
        "dtype": "float32",
        "repeats": repeats,
        "median_seconds_an_image": per_image,
        "ratio": ratio,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "astra": astra.__version__,
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
        },
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
