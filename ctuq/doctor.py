"""What this machine can do: versions, memory, ASTRA, CUDA. Data only; printing is the caller's."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import astra
import numpy as np
import torch

from operators import FanBeam, ImageGrid, ParallelBeam, RayTransform
from operators.astra_cuda import astra_cuda_fault

Status = Literal["ok", "absent", "problem"]

_PACKAGES = ("ctuq", "torch", "numpy", "scipy", "astra-toolbox", "h5py", "pydantic")
_ADJOINT_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what was looked at.
        status: "ok", "absent" (ctuq does without it) or "problem" (something that should work does not).
        detail: what was found, and for a problem what to try.
    """

    name: str
    status: Status
    detail: str


def diagnose() -> list[Finding]:
    """Look at this machine; takes a few seconds. Nothing that could crash runs in this process."""
    return [
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(_package(name) for name in _PACKAGES),
        Finding("CPU cores", "ok", f"{_usable_cores()} usable, torch takes {torch.get_num_threads()}"),
        _memory(),
        _adjoint("parallel"),
        _adjoint("fan"),
        _astra_cuda(),
        _torch_cuda(),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "problem", "not installed: run make test, or pip install -e . in ctuq's folder")


def _usable_cores() -> int:
    # os.cpu_count() counts the machine's cores, also those that a container or a batch queue has not lent us.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return Finding("memory", "absent", "this system does not say how much there is")
    return Finding("memory", "ok", f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it free")


def _adjoint(kind: Literal["parallel", "fan"]) -> Finding:
    """<A x, y> against <x, Aᵀ y> in float64, by the norms."""
    name = f"ASTRA on the CPU, {kind} beam"
    grid = ImageGrid(shape=(24, 24))
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    generator = torch.Generator().manual_seed(0)
    try:
        rays = (
            ParallelBeam(grid=grid, angles_rad=angles, n_detectors=36)
            if kind == "parallel"
            else FanBeam(
                grid=grid, angles_rad=angles, n_detectors=36, pitch_mm=2.0, source_origin_mm=80, origin_detector_mm=80
            )
        )
        transform = RayTransform(rays)
        x = torch.randn(transform.in_shape, generator=generator, dtype=torch.float64)
        y = torch.randn(transform.out_shape, generator=generator, dtype=torch.float64)
        forward, back = transform(x), transform.adjoint(y)
    except Exception as error:  # noqa: BLE001  a diagnosis names whatever fails and goes on
        return Finding(name, "problem", f"{type(error).__name__}: {error}; try reinstalling astra-toolbox")
    gap = float(((forward * y).sum() - (x * back).sum()).abs() / (forward.norm() * y.norm()))
    if not gap <= _ADJOINT_TOLERANCE:
        return Finding(name, "problem", f"adjoint error {gap:.1e}, expected at most {_ADJOINT_TOLERANCE:.0e}")
    return Finding(name, "ok", f"exact matrix, adjoint error {gap:.1e}")


def _astra_cuda() -> Finding:
    name = "ASTRA on the GPU"
    fault = astra_cuda_fault()
    if fault is None:
        return Finding(name, "ok", "a projection ran and its values are right")
    if not astra.use_cuda():
        return Finding(name, "absent", f"{fault}; projections run on the CPU")
    return Finding(name, "problem", fault)


def _torch_cuda() -> Finding:
    name = "torch on the GPU"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return Finding(
            name, "absent", f"no CUDA device (torch is built for {f'CUDA {built}' if built else 'CPU only'})"
        )
    free, total = torch.cuda.mem_get_info()
    device = torch.cuda.get_device_name(0)
    return Finding(name, "ok", f"{device}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
