"""Cone-beam projections by exact matrices and, where there is a GPU, by ASTRA's kernels: values, adjoints and seconds.

python -m tests.benchmarks.volume_projection [--size 48] [--views 40] [--detector 64] [--device cpu|cuda] [--repeats 5]

Every figure goes with an adjoint error and, for either projector, with the residual that conjugate gradients on the
normal equations reach with it: it is computed afresh at the end, so that a back-projection which is not the transpose
shows. Writes results/volume_projection_SIZE_DEVICE.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from operators import ConeBeam, LinearMap, RayTransform, VolumeGrid, cgls
from operators.astra_cuda import astra_cuda_fault, astra_cuda_projector
from operators.testing import adjoint_error
from tests.benchmarks.environment import save
from tests.operators.ball import ball_volume


def cone_of(size: int, views: int, detector: int) -> ConeBeam:
    """A scan of magnification 2 whose detector just sees the whole volume, half the volume's width being 12 mm."""
    pixel = 24.0 / size
    return ConeBeam(
        grid=VolumeGrid(shape=(size, size, size), pixel_mm=pixel),
        angles_rad=np.linspace(0, 2 * math.pi, views, endpoint=False),
        n_rows=detector,
        n_detectors=detector,
        pitch_mm=2 * 1.45 * 24.0 / detector,
        source_origin_mm=72.0,
        origin_detector_mm=72.0,
    )


def seconds(run: Callable[[], Tensor], repeats: int) -> float:
    """Median of `repeats` runs after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        _wait()
        started = time.perf_counter()
        run()
        _wait()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def figures(linear_map: LinearMap, volume: Tensor, repeats: int) -> dict[str, float]:
    """Of one projector: seconds each way, the adjoint's error, and what CGLS reaches in 30 iterations."""
    generator = torch.Generator(volume.device).manual_seed(0)
    x = torch.rand(linear_map.in_shape, generator=generator, device=volume.device)
    y = torch.rand(linear_map.out_shape, generator=generator, device=volume.device)
    solution = cgls(linear_map, linear_map(volume), iterations=30, tolerance=0.0)
    return {
        "forward_seconds": seconds(lambda: linear_map(x), repeats),
        "adjoint_seconds": seconds(lambda: linear_map.adjoint(y), repeats),
        "adjoint_error": adjoint_error(linear_map, x, y),
        "cgls_relative_residual": float(solution.relative_residual),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--views", type=int, default=40)
    parser.add_argument("--detector", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    cone = cone_of(asked.size, asked.views, asked.detector)
    volume = ball_volume(cone.grid, fine=2).float().to(asked.device)
    found: dict[str, dict[str, float]] = {}
    views: dict[str, Tensor] = {}
    for kernel in ("strip", "line"):
        started = time.perf_counter()
        transform = RayTransform(cone, kernel="line" if kernel == "line" else "strip")
        built = time.perf_counter() - started
        views[kernel] = transform(volume)
        found[kernel] = {"build_seconds": built} | figures(transform, volume, asked.repeats)
    fault = astra_cuda_fault()
    if fault is None:
        projector = astra_cuda_projector(cone)
        views["astra"] = projector(volume)
        found["astra"] = figures(projector, volume, asked.repeats)
    for name, numbers in found.items():
        numbers["values_off_the_lines"] = float((views[name] - views["line"]).norm() / views["line"].norm())
        print(name, "  ".join(f"{key} {value:.3g}" for key, value in numbers.items()))
    gpu_bytes = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    saved = {"settings": vars(asked), "astra_cuda_fault": fault, "gpu_bytes": gpu_bytes, "projectors": found}
    print(save(f"volume_projection_{asked.size}_{asked.device}", saved))


if __name__ == "__main__":
    main()
