"""Projections on a device: values and adjoints of both projectors, and how near they come to the memory's bandwidth."""

from __future__ import annotations

import functools
import time
from typing import Any

import torch
from torch import Tensor

from operators import ConeBeam, LinearMap, ParallelBeam, RayTransform, SliceStack
from operators.astra_cuda import astra_cuda_fault, astra_cuda_projector
from operators.cone_footprints import FootprintView
from operators.cone_matrix import ConeMatrix
from operators.csr_pair import CsrPair
from operators.projection_matrix import PlanarMatrix
from operators.testing import adjoint_error
from tests.benchmarks.device_speed import copy_bandwidth
from tests.benchmarks.gpu_slices import slice_geometry, slice_phantom
from tests.benchmarks.volume_projection import cone_of, figures, seconds
from tests.operators.ball import ball_volume

BATCHES = (1, 16)
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative, of values and of the adjoint's error
# As tests/operators/test_astra_cuda.py has them: rays that interpolate, and a back-projection that is no transpose.
ASTRA_VALUES, ASTRA_ADJOINT = 0.05, 5e-3

Figures = dict[str, Any]


def projectors(device: str, *, small: bool) -> Figures:
    """A slice and a cone beam by exact matrices and, where there is a GPU, by ASTRA; with "checks"."""
    size, views, detectors, cube = (64, 24, 64, 16) if small else (501, 60, 128, 167)
    repeats = 20 if device == "cuda" else 3
    plane = slice_geometry(size, views, detectors)
    cone = cone_of(cube, 20, 2 * cube // 3)
    cases: dict[str, tuple[ParallelBeam | ConeBeam, Tensor]] = {
        "slice": (plane, slice_phantom(size, seed=0)),
        "cone": (cone, ball_volume(cone.grid, fine=2)),
    }
    bandwidth, fault = copy_bandwidth(device), astra_cuda_fault()
    checks: dict[str, bool] = {}
    found: Figures = {"bytes_per_second_of_a_copy": bandwidth, "checks": checks}
    for name, (scan, image) in cases.items():
        matrix = matrix_figures(scan, image, device, bandwidth, repeats)
        checks |= {f"{name}: {what}": held for what, held in matrix.pop("checks").items()}
        found[name] = {"matrix": matrix, "astra": fault}
        if fault is None:
            theirs = astra_figures(scan, image, device, repeats)
            checks |= {f"{name}: {what}": held for what, held in theirs.pop("checks").items()}
            found[name]["astra"] = theirs
    return found


def matrix_figures(
    scan: ParallelBeam | ConeBeam, image: Tensor, device: str, bandwidth: float, repeats: int
) -> Figures:
    """Of the exact matrix: on the device against the same in float64 on the CPU, and its speed."""
    began = time.perf_counter()
    transform = RayTransform(scan)
    built = time.perf_counter() - began
    generator = torch.Generator().manual_seed(0)
    x = image.double()
    y = torch.rand(transform.out_shape, generator=generator, dtype=torch.float64)
    expected = transform(x), transform.adjoint(y)
    found: Figures = {"build_seconds": built, "checks": (checks := {})}
    for dtype, rounding in ROUNDING.items():
        there = x.to(device=device, dtype=dtype), y.to(device=device, dtype=dtype)
        got = transform(there[0]), transform.adjoint(there[1])
        errors = {
            "values": max(_relative(g.double().cpu(), e) for g, e in zip(got, expected, strict=True)),
            "adjoint": adjoint_error(transform, *there),
        }
        for what, error in errors.items():
            found[f"{what}_error_{str(dtype).removeprefix('torch.')}"] = error
            checks[f"{what} within {rounding:g} in {dtype}"] = error <= rounding
    found |= figures(transform, x.float().to(device), repeats)
    return found | speeds(transform, device, repeats, bandwidth)


def astra_figures(scan: ParallelBeam | ConeBeam, image: Tensor, device: str, repeats: int) -> Figures:
    """Of ASTRA's CUDA kernels, or how they broke off: the matrix's figures are to be kept."""
    stack = scan if isinstance(scan, ConeBeam) else SliceStack(scan=scan, n_slices=1)
    volume = image.float().reshape(stack.grid.shape).to(device)
    try:
        return foreign_figures(astra_cuda_projector(stack), RayTransform(stack, kernel="line"), volume, repeats)
    except RuntimeError as error:
        return {"error": str(error), "checks": {"ASTRA projects": False}}


def foreign_figures(projector: LinearMap, exact: RayTransform, volume: Tensor, repeats: int) -> Figures:
    """Of another library's projector, against the exact matrix of its rays.

    Args:
        projector: theirs.
        exact: ours of the same scan.
        volume: float32, on the device.
        repeats: that are timed.
    """
    found: Figures = figures(projector, volume, repeats)
    pair = figures(exact, volume, 1)
    found["values_off_the_lines"] = _relative(projector(volume), exact(volume))
    found["cgls_relative_residual_of_the_exact_pair"] = pair["cgls_relative_residual"]
    found["checks"] = {
        f"ASTRA's values within {ASTRA_VALUES:g} of the lines'": found["values_off_the_lines"] <= ASTRA_VALUES,
        f"ASTRA's adjoint within {ASTRA_ADJOINT:g}": found["adjoint_error"] <= ASTRA_ADJOINT,
    }
    return found | speeds(projector, str(volume.device), repeats, None)


def speeds(linear_map: LinearMap, device: str, repeats: int, bandwidth: float | None) -> Figures:
    """Images and sinograms a second in float32, by how many at a time; and the bandwidth that takes, as a share."""
    found: dict[str, dict[str, float]] = {}
    for n in BATCHES:
        generator = torch.Generator().manual_seed(n)
        x, y = (
            torch.rand(n, *shape, generator=generator).to(device)
            for shape in (linear_map.in_shape, linear_map.out_shape)
        )
        taken = {
            "projections": seconds(functools.partial(linear_map, x), repeats),
            "back_projections": seconds(functools.partial(linear_map.adjoint, y), repeats),
        }
        for what, time_of_one in taken.items():
            found.setdefault(f"{what}_per_second", {})[str(n)] = n / time_of_one
            if bandwidth is not None and isinstance(linear_map, RayTransform):
                read = bytes_of_a_product(linear_map, n, transposed=what == "back_projections")
                found.setdefault(f"{what}_share_of_bandwidth", {})[str(n)] = read / time_of_one / bandwidth
    return found


def bytes_of_a_product(transform: RayTransform, n: int, *, transposed: bool) -> int:
    """That n float32 vectors have to read and write, each array once: matrices with their indices, and vectors."""
    matrix = transform._matrix
    if isinstance(matrix, PlanarMatrix):
        return csr_bytes(matrix._pair, n, transposed=transposed)
    if not isinstance(matrix, ConeMatrix):
        raise TypeError(f"expected the matrix of a slice or of a cone beam, got {type(matrix).__name__}")
    total = 0
    for view in matrix._views:
        if isinstance(view, FootprintView):
            # Two products, one after the other; what is between them is written and read.
            total += csr_bytes(view._along, n, transposed=transposed)
            total += csr_bytes(view._across, n * len(view._slopes), transposed=transposed)
        elif isinstance(view, CsrPair):
            total += csr_bytes(view, n, transposed=transposed)
    return total


def csr_bytes(pair: CsrPair, n: int, *, transposed: bool) -> int:
    """Of one product with n float32 columns: an entry is a value and an index of 4 bytes each, a row has a pointer."""
    n_rows, n_cols = reversed(pair.matrix.shape) if transposed else pair.matrix.shape
    return 8 * pair.n_entries + 4 * (n_rows + 1) + 4 * n * (n_rows + n_cols)


def _relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())
