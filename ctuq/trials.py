"""Short trials of what a reconstruction consists of: projections, passes through the network, products of matrices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from ctuq.config import load_config
from ctuq.cost import SECONDS_A_PASS, Speeds, gflop_of_a_pass
from dip import Holdout, NetworkJacobian, UNet, fit, hold_out
from operators import ConeBeam, FanBeam, Geometry, ImageGrid, LinearMap, ParallelBeam, RayTransform, VolumeGrid
from operators.testing import adjoint_error
from operators.volume_geometry import VolumeScan

SIZE = 128
"""Pixels a side of the images in trials."""

# Beside the products with the Jacobian themselves, their rows are summed into matrices of the rays; and factorisations
# are slower than plain products of matrices. Both as three real scans took on one core, against the trials there.
_ROWS = 1.2
_FACTORISATIONS = 0.78

Kind = Literal["parallel", "fan", "cone"]

_MATRIX = 1024
_FIT_STEPS = 40
_BATCH = 4


@dataclass(frozen=True)
class ProjectorTrial:
    """What a projector did.

    Args:
        adjoint_error: of the pair, see `operators.testing.adjoint_error`.
        projections: a second, of one image in a batch of four.
        back_projections: likewise.
    """

    adjoint_error: float
    projections: float
    back_projections: float


@dataclass(frozen=True)
class NetworkTrial:
    """How often a second the default network of 128 × 128 pixels did what it is used for.

    Args:
        forward: a pass.
        pushes: a product J x of the Jacobian, in batches of four.
        pulls: a product Jᵀ y, likewise.
        fit_steps: a step of the fit, forth and back, of 30 views.
    """

    forward: float
    pushes: float
    pulls: float
    fit_steps: float


def scan_geometry(kind: Kind) -> Geometry | VolumeScan:
    """The scan of a trial: "parallel" and "fan" of 128 × 128 pixels and 60 views, "cone" of 32³ voxels and 20 views."""
    angles = np.linspace(0, math.pi, 60, endpoint=False)
    grid = ImageGrid(shape=(SIZE, SIZE))
    if kind == "parallel":
        return ParallelBeam(grid=grid, angles_rad=angles, n_detectors=SIZE)
    if kind == "fan":
        return FanBeam(
            grid=grid,
            angles_rad=2 * angles,
            n_detectors=SIZE,
            pitch_mm=2.0,
            source_origin_mm=400,
            origin_detector_mm=400,
        )
    return ConeBeam(
        grid=VolumeGrid(shape=(32, 32, 32)),
        angles_rad=2 * angles[::3],
        n_rows=40,
        n_detectors=40,
        pitch_mm=2.0,
        source_origin_mm=100,
        origin_detector_mm=100,
    )


def try_projector(
    projector: LinearMap, *, device: str, seconds: float, dtype: torch.dtype = torch.float64
) -> ProjectorTrial:
    """A projector's adjoint, in `dtype`, and its speed in float32.

    Args:
        projector: of images or volumes.
        device: of the tensors.
        seconds: for each of the two ways, after a first time that does not count.
        dtype: in which the pair is compared.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = projector.in_shape, projector.out_shape
    x, y = (torch.randn(_BATCH, *shape, generator=generator).to(device) for shape in shapes)
    return ProjectorTrial(
        adjoint_error(projector, x.to(dtype), y.to(dtype)),
        _BATCH * _times_a_second(lambda: projector(x), device, seconds),
        _BATCH * _times_a_second(lambda: projector.adjoint(y), device, seconds),
    )


def try_network(*, device: str, seconds: float) -> NetworkTrial:
    """Passes, products with the Jacobian and steps of the fit, each for about so long."""
    config = load_config(None)
    generator = torch.Generator().manual_seed(0)
    network = UNet(config.network, generator=generator).to(device)
    image = torch.randn(1, 1, SIZE, SIZE, generator=generator).to(device)
    jacobian = NetworkJacobian(network, image, batch=_BATCH)
    n = 4 * _BATCH  # one graph serves several chunks, as it does in earnest
    weights = torch.randn(n, *jacobian.in_shape, generator=generator).to(device)
    images = torch.randn(n, *jacobian.out_shape, generator=generator).to(device)
    with torch.no_grad():
        forward = _times_a_second(lambda: network(image), device, seconds)
    return NetworkTrial(
        forward=forward,
        pushes=n * _times_a_second(lambda: jacobian(weights), device, seconds),
        pulls=n * _times_a_second(lambda: jacobian.adjoint(images), device, seconds),
        fit_steps=_fit_steps_a_second(network, image, device),
    )


def try_algebra(*, device: str, seconds: float) -> float:
    """FLOP a second of products of matrices in float64."""
    matrix = torch.randn(_MATRIX, _MATRIX, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    return 2 * _MATRIX**3 * _times_a_second(lambda: matrix @ matrix, device, seconds)


def speeds_of(network: NetworkTrial, algebra_flops: float) -> Speeds:
    """What `ctuq.cost.Cost` needs to know of the machine on which the trials ran."""
    gflop = gflop_of_a_pass(UNet(load_config(None).network, generator=torch.Generator()), (SIZE, SIZE))

    def of_its_size(seconds: float) -> float:
        return max(seconds - SECONDS_A_PASS, seconds / 2) / gflop

    return Speeds(
        fit=of_its_size(1 / network.fit_steps / 2),
        linear=of_its_size(_ROWS / network.pulls / 2),
        algebra=_FACTORISATIONS * algebra_flops,
    )


def _fit_steps_a_second(network: UNet, image: torch.Tensor, device: str) -> float:
    """Of the last half of a short fit, checkpoint and all."""
    projector = RayTransform(scan_geometry("parallel")).select(range(0, 60, 2))
    data = projector(image[0, 0].abs())
    holdout = hold_out(tuple(data.shape), 0.125, generator=torch.Generator().manual_seed(0))
    settings = replace(
        load_config(None).fit, steps=_FIT_STEPS, refit_steps=0, checkpoints=2, tv_weights=(1e-3,), misfit_floors=(0.02,)
    )
    looks: list[float] = []

    def on_step(*_: object) -> None:
        _wait(device)
        looks.append(time.perf_counter())

    on_device = Holdout(holdout.chooses.to(device), holdout.judges.to(device), holdout.masked.to(device))
    fit([network], image[None], projector, data, holdout=on_device, settings=settings, on_step=on_step)
    return _FIT_STEPS / 2 / (looks[1] - looks[0])


def _times_a_second(run: Callable[[], object], device: str, seconds: float) -> float:
    """Once to warm up, and then for so long, at least once."""
    run()
    _wait(device)
    started, n, taken = time.perf_counter(), 0, 0.0
    while n == 0 or taken < seconds:
        run()
        _wait(device)
        n, taken = n + 1, time.perf_counter() - started
    return n / max(taken, 1e-9)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
