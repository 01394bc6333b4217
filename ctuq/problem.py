"""A scan posed as a problem without units, with what is held out of it, and the network fitted to the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctuq.config import Config
from ctuq.errors import InputError
from ctuq.initial_weights import InitialWeights, initial_weights
from ctuq.neighbour import Neighbour
from ctuq.network_input import network_input, scale_of
from ctuq.preparation import prepare
from ctuq.preprocessing import preprocess
from ctuq.scan import Scan
from ctuq.stage_watch import OnStep, StageWatch
from dip import Dimensions, Fit, Holdout, UNet, fit, hold_out
from operators import ConeBeam, RayTransform


@dataclass(frozen=True)
class Problem:
    """The scan in dimensionless units: images divided by `scale` (1/mm)."""

    scan: Scan
    transform: RayTransform
    data: Tensor  # (angle, detector), or (angle, row, detector), mm
    relative_noise: Tensor  # as the data, float64, harmonic mean 1, huge for masked rays
    scale: float
    inputs: Tensor  # (members, 1, 1, *image): filtered back-projections of what each member is fitted to
    holdout: Holdout
    seeds: Callable[[str], torch.Generator]
    start: InitialWeights | None  # of the fit; None: random


def pose(scan: Scan, config: Config, seed: int, device: str, neighbour: Neighbour | None = None) -> Problem:
    """A prepared scan as a problem.

    Args:
        scan: prepared.
        config: of the reconstruction.
        seed: with the scan's name, of every random draw.
        device: torch device for the network and the algebra.
        neighbour: row whose fit this one starts from, and whose hold-out it shares.

    Raises:
        InputError: too few views or rays to hold any out, or weights to start from that do not fit.
    """
    seeds = _generators(scan.name, seed)
    start = initial_weights(config, None if neighbour is None else neighbour.weights)
    holdout = (
        _held_out(scan, config, seeds("holdout"))
        if neighbour is None
        else neighbour.holdout_of(scan, config.fit.members)
    )
    inputs = torch.stack([network_input(scan.geometry, scan.sinogram, fitted) for fitted in holdout.fitted])
    scale = config.grid.largest_attenuation or scale_of(inputs[0])
    noise = torch.ones(scan.geometry.sinogram_shape, dtype=torch.float64)
    if isinstance(scan.noise_variance, Tensor):
        noise = scan.noise_variance.double().cpu() * float(scan.noise_variance.double().reciprocal().mean())
    return Problem(
        scan,
        RayTransform(scan.geometry),
        (scan.sinogram / scale).to(device),
        noise.to(device),
        scale,
        (inputs / scale)[:, None, None].float().to(device),
        Holdout(holdout.chooses.to(device), holdout.judges.to(device), holdout.masked.to(device)),
        seeds,
        start,
    )


def _held_out(scan: Scan, config: Config, generator: torch.Generator) -> Holdout:
    try:
        return hold_out(
            scan.geometry.sinogram_shape,
            config.holdout.fraction,
            n_members=config.fit.members,
            masked=scan.masked,
            generator=generator,
        )
    except ValueError as error:
        raise InputError(f"{error} (holdout.fraction, fit.members)") from error


def fit_networks(problem: Problem, config: Config, watch: StageWatch) -> Fit:
    """One network, or an ensemble, from weights that `fit.init` names or the seed decides."""
    # The first member is the one that a fit of one would have.
    purposes = ["network", *(f"network {number}" for number in range(1, config.fit.members))]
    dimensions: Dimensions = 3 if isinstance(problem.scan.geometry, ConeBeam) else 2
    members = [
        UNet(config.network, generator=problem.seeds(purpose), dimensions=dimensions).to(problem.data.device)
        for purpose in purposes
    ]
    if problem.start is not None:
        problem.start.put_into(members)

    def on_step(done: int, total: int, info: Mapping[str, float]) -> None:
        watch.step(
            done,
            total,
            {name: value * problem.scale if name.endswith("loss") else value for name, value in info.items()},
        )

    return fit(
        members,
        problem.inputs,
        problem.transform,
        problem.data,
        precision=_precision(problem),
        holdout=problem.holdout,
        # A mask alone makes a precision too, but states no noise that would be worth a second misfit.
        settings=replace(
            config.fit,
            steps=config.fit.taken_steps,
            misfit_floors=config.fit.floors(noise_stated=problem.scan.noise_stated),
        ),
        on_step=on_step,
    )


def fitted_image(
    scan: Scan, config: Config | None = None, *, seed: int = 0, device: str = "cpu", on_step: OnStep | None = None
) -> Tensor:
    """The image alone, (row, col) or (slice, row, col) in 1/mm: that of `reconstruct` without its error bars.

    In a fraction of the time.

    Args and errors are those of `reconstruct`.
    """
    config = config or Config()
    problem = pose(prepare(preprocess(scan, config.preprocessing), config), config, seed, device)
    image: Tensor = fit_networks(problem, config, StageWatch(on_step)).full_image.cpu() * problem.scale
    return image


def _precision(problem: Problem) -> Tensor | None:
    """Relative, of every ray; None where none is stated."""
    if not isinstance(problem.scan.noise_variance, Tensor):
        return None
    return torch.where(problem.holdout.masked, 0.0, problem.relative_noise.reciprocal())


def _generators(scan_name: str, seed: int) -> Callable[[str], torch.Generator]:
    """One stream of random numbers for each purpose, so that drawing more for one changes no other."""

    def generator(purpose: str) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}:{scan_name}:{purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    return generator
