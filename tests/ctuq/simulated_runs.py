"""Reconstruct on the CPU and on a device that is not there, case by case; a JSON line for each.

A process of its own: torch counts its devices once, at the first gradient.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from ctuq.planning import plan
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from tests.ctuq.cone_scan import ball_scan
from tests.ctuq.cone_scan import quick as quick_volume
from tests.ctuq.test_judging import BY_SAMPLES, config, scan
from tests.simulated_device import simulated_device

SLICES: dict[str, Sequence[str]] = {
    "dense": (),
    "a pixel depends on few others": ("network.channels=[3]", "network.skip_channels=[]"),
    "cholesky": ("posterior.method=cholesky",),
    "sgd": ("posterior.method=sgd",),
    "sdd": ("posterior.method=sdd",),
    "by samples": (*BY_SAMPLES, "posterior.dense_pixels=1"),
    "em": ("evidence.method=em",),
    "em by samples": ("evidence.method=em", *BY_SAMPLES),
    "tv-map": ("evidence.method=tv-map",),
    "filters": ("prior.kind=filter-gp",),
    "g-prior": ("prior.kind=g-prior", "evidence.rows_gb=1e-4"),
    "kernel": (
        "network.output=sigmoid",
        "prior.kind=tangent-kernel",
        "fit.members=2",
        "grid.largest_attenuation=0.1",
    ),
}
VOLUMES: dict[str, Sequence[str]] = {"volume": (), "volume by samples": ("posterior.cholesky_rays=50",)}


def compared(name: str) -> dict[str, object]:
    """How far the two reconstructions are apart, relative to the largest of each map."""
    given = ball_scan() if name in VOLUMES else scan()
    settings = quick_volume(*VOLUMES[name]) if name in VOLUMES else config(*SLICES[name])
    here = reconstruct(given, settings)
    plans = [[0.0], [0.0]]
    with simulated_device() as device:
        there = reconstruct(given, settings, device=device)
        if name in SLICES:
            plans = [plan(found, candidates=37, n_angles=2).angles_rad.tolist() for found in (here, there)]
    return {
        "case": name,
        "image": _apart(here.image, there.image),
        "std": _apart(here.std, there.std),
        "samples": _apart(here.samples, there.samples),
        "plan": max(abs(one - other) for one, other in zip(*plans, strict=True)),
        "on_the_cpu": all(type(map_) is Tensor for map_ in _maps(there)),
    }


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


def _maps(found: Reconstruction) -> tuple[Tensor, ...]:
    return (found.image, found.std, found.standard_error, found.samples, found.calibration.z, found.fit_loss)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[1:]:
        sys.stdout.write(json.dumps(compared(case)) + "\n")
