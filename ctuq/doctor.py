"""What this machine can do: versions, memory, projectors, CUDA, speed. Data only; printing is the caller's."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import astra
import torch
from rich.filesize import decimal

from ctuq.available_memory import available_memory
from ctuq.config import load_config
from ctuq.cost import Cost, Speeds
from ctuq.reach import MINUTES, reach
from ctuq.stage_watch import OnStep
from ctuq.trials import (
    SIZE,
    Kind,
    NetworkTrial,
    ProjectorTrial,
    scan_geometry,
    speeds_of,
    try_algebra,
    try_network,
    try_projector,
)
from operators import ConeBeam, RayTransform
from operators.astra_cuda import astra_cuda_fault, astra_cuda_projector

Status = Literal["ok", "absent", "problem"]

_PACKAGES = ("ctuq", "torch", "numpy", "scipy", "astra-toolbox", "h5py", "pydantic")
_TRIAL_SECONDS = 0.5
_BUSY = 0.5  # share of its threads' time that this process gets, below which other jobs are to blame
_ADJOINT_TOLERANCE = 1e-12  # of a matrix and its transpose, in float64
_ASTRA_TOLERANCE = 1e-2  # ASTRA's CUDA kernels are no such pair
_SCANS: dict[Kind, str] = {
    "parallel": "(128 × 128 pixels, 60 views of 128)",
    "fan": "(128 × 128 pixels, 60 views of 128)",
    "cone": "(32³ voxels, 20 views of 40 × 40)",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what was looked at.
        status: "ok", "absent" (ctuq does without it) or "problem" (something that should work does not).
        detail: what was found, and for a problem what to try.
        figures: the numbers in it, by name, for programs.
    """

    name: str
    status: Status
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)


def diagnose(on_step: OnStep | None = None, *, trial_seconds: float = _TRIAL_SECONDS) -> list[Finding]:
    """Look at this machine, about ten seconds long. Nothing that could crash runs in this process.

    Args:
        on_step: called as ("measure", done, total, {}).
        trial_seconds: for each thing that is timed.
    """
    looks: list[Callable[[], list[Finding]]] = [
        _facts,
        *(lambda kind=kind: [_projector(kind, "cpu", trial_seconds)] for kind in _SCANS),
        lambda: _gpu(trial_seconds),
        lambda: _speed("cpu", trial_seconds),
    ]
    found = []
    for done, look in enumerate(looks):
        if on_step is not None:
            on_step("measure", done, len(looks), {})
        found += look()
    if on_step is not None:
        on_step("measure", len(looks), len(looks), {})
    return found


def _facts() -> list[Finding]:
    cores = _usable_cores()
    return [
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(_package(name) for name in _PACKAGES),
        Finding("CPU cores", "ok", f"{cores} usable, torch takes {torch.get_num_threads()}", {"usable": cores}),
        _memory(),
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
        total, available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), available_memory()
    except (AttributeError, OSError, ValueError):
        return Finding("memory", "absent", "this system does not say how much there is")
    detail = f"{decimal(total)}, {decimal(available)} of it available"
    return Finding("memory", "ok", detail, {"total_bytes": total, "available_bytes": available})


def _projector(kind: Kind, device: str, seconds: float) -> Finding:
    """<A x, y> against <x, Aᵀ y> in float64, by the norms, and how fast both are in float32."""
    name = f"{kind}-beam rays, {_on(device)}"
    try:
        trial = try_projector(RayTransform(scan_geometry(kind)), device=device, seconds=seconds)
    except Exception as error:  # noqa: BLE001  a diagnosis names whatever fails and goes on
        return Finding(name, "problem", f"{type(error).__name__}: {error}; try reinstalling astra-toolbox")
    gap = trial.adjoint_error
    if not gap <= _ADJOINT_TOLERANCE:
        return Finding(
            name, "problem", f"adjoint error {gap:.1e}, expected at most {_ADJOINT_TOLERANCE:.0e}", _of(trial)
        )
    return Finding(name, "ok", f"exact matrix, adjoint error {gap:.1e}; {_speeds(trial)} {_SCANS[kind]}", _of(trial))


def _gpu(seconds: float) -> list[Finding]:
    """ASTRA and torch there, and what they do where they can be used."""
    found = [_astra_cuda(seconds), _torch_cuda()]
    if torch.cuda.is_available():
        found += [_projector(kind, "cuda", seconds) for kind in _SCANS]
        found += [_network_finding(try_network(device="cuda", seconds=seconds), "cuda")]
    return found


def _astra_cuda(seconds: float) -> Finding:
    name = "ASTRA on the GPU"
    fault = astra_cuda_fault()
    if fault is not None and not astra.use_cuda():
        return Finding(name, "absent", f"{fault}; projections run on the CPU")
    if fault is not None:
        return Finding(name, "problem", fault)
    if not torch.cuda.is_available():
        return Finding(name, "ok", "a projection ran and its values are right")
    cone = scan_geometry("cone")
    assert isinstance(cone, ConeBeam)  # noqa: S101  what was asked for, which the type does not say
    try:
        trial = try_projector(astra_cuda_projector(cone), device="cuda", seconds=seconds, dtype=torch.float32)
    except Exception as error:  # noqa: BLE001  a diagnosis names whatever fails and goes on
        return Finding(name, "problem", f"{type(error).__name__}: {error}; check driver and astra-toolbox versions")
    gap = trial.adjoint_error
    if not gap <= _ASTRA_TOLERANCE:
        return Finding(name, "problem", f"adjoint error {gap:.1e}, expected at most {_ASTRA_TOLERANCE:.0e}", _of(trial))
    detail = f"values are right, back-projection off the transpose by {gap:.1e}, so for fits alone; {_speeds(trial)}"
    return Finding(name, "ok", f"{detail} {_SCANS['cone']}", _of(trial))


def _torch_cuda() -> Finding:
    name = "torch on the GPU"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return Finding(
            name, "absent", f"no CUDA device (torch is built for {f'CUDA {built}' if built else 'CPU only'})"
        )
    free, total = torch.cuda.mem_get_info()
    device = torch.cuda.get_device_name(0)
    figures = {"total_bytes": total, "available_bytes": free}
    return Finding(name, "ok", f"{device}, {decimal(free)} of {decimal(total)} free", figures)


def _speed(device: str, seconds: float) -> list[Finding]:
    """Passes a second, and what follows for reconstructions."""
    started, worked = time.perf_counter(), time.process_time()
    network, flops = try_network(device=device, seconds=seconds), try_algebra(device=device, seconds=seconds)
    algebra = Finding(
        f"matrix products, {_on(device)}", "ok", f"{flops / 1e9:.0f} GFLOP a second in float64", {"flops": flops}
    )
    share = (time.process_time() - worked) / ((time.perf_counter() - started) * torch.get_num_threads())
    speeds = speeds_of(network, flops)
    config, rays = load_config(None), 30 * SIZE
    here = Cost(config, rays, (SIZE, SIZE), noise_stated=False, speeds=speeds).seconds
    factor = here / Cost(config, rays, (SIZE, SIZE), noise_stated=False).seconds
    words = f"{factor:.2g} times what it says; that and the ten minutes are right to about a third"
    if share < _BUSY:
        words += f" (other jobs left this one {100 * share:.0f} % of the time meanwhile: alone it is faster)"
    return [
        _network_finding(network, device),
        algebra,
        *_ten_minutes(speeds),
        Finding("times of ctuq check", "ok", words, {"factor": factor}),
    ]


def _ten_minutes(speeds: Speeds) -> list[Finding]:
    """One for every size of image, by default settings."""
    found = reach(speeds, available_memory())
    if not found:
        return [Finding(f"in {MINUTES} minutes", "ok", "not even 64 × 64 pixels from 10 views of 64")]
    name = f"in {MINUTES} minutes"
    return [
        Finding(f"{name}, {one.size} × {one.size} pixels", "ok", one.words, {"size": one.size, "rays": one.rays})
        for one in found
    ]


def _network_finding(trial: NetworkTrial, device: str) -> Finding:
    detail = (
        f"a second {trial.forward:.3g} forward, {trial.pushes:.3g} J x, {trial.pulls:.3g} Jᵀ y, "
        f"{trial.fit_steps:.3g} steps of a fit, at {SIZE} × {SIZE} pixels"
    )
    return Finding(f"network passes, {_on(device)}", "ok", detail, vars(trial))


def _on(device: str) -> str:
    return "CPU" if device == "cpu" else "GPU"


def _of(trial: ProjectorTrial) -> dict[str, float]:
    return dict(vars(trial))


def _speeds(trial: ProjectorTrial) -> str:
    return f"{trial.projections:.3g} projections and {trial.back_projections:.3g} back-projections a second"
