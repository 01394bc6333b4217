"""From a scan as it was measured to the rays and the grid that are reconstructed, and what that will cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from rich.filesize import decimal

from ctuq.available_memory import available_memory
from ctuq.config import RANDOM, Config
from ctuq.cost import Cost
from ctuq.errors import InputError, ShortageError
from ctuq.initial_weights import InitialWeights, initial_weights
from ctuq.scan import Scan
from dip import UNet, check_prior_kind
from operators import ConeBeam, ImageGrid, VolumeGrid

_MOST_THINNING = 16  # times what is set, in advice on what fits into memory
_FEWEST_LEFT = 10  # views or detector pixels, likewise


@dataclass(frozen=True)
class Estimate:
    """What a reconstruction will take.

    Args:
        memory_bytes: at the largest stage.
        seconds: on two cores, roughly.
        n_rays: after thinning and binning.
        n_weights: of the network's convolutions.
        problems: reasons why it cannot be done, each with what was expected, what came and what to try.
        short: whether too little memory is free; it is the last of the problems.
    """

    memory_bytes: int
    seconds: float
    n_rays: int
    n_weights: int
    problems: list[str]
    short: bool


def prepare(scan: Scan, config: Config) -> Scan:
    """Thin, bin and put on the configured grid.

    Raises:
        InputError: a step, bin or grid that the scan does not allow.
    """
    thinned = scan.every(config.scan.angle_step)
    factor = _size_and_bin(scan, config)[1]
    return thinned.binned(factor).on_grid(_grid(scan, config))


def estimate(scan: Scan, config: Config, *, device: str = "cpu", handed_on: InitialWeights | None = None) -> Estimate:
    """Memory and time of a reconstruction, from shapes alone; time is that of two cores on whatever device.

    Args:
        scan: of which shapes are looked at.
        config: of the reconstruction.
        device: whose memory it is to fit into.
        handed_on: weights of a neighbouring row to start from, where there is one.
    """
    size, n_rays = _size_and_bin(scan, config)[0], _n_rays(scan, config)
    shape = _grid(scan, config).shape
    cost = Cost(config, n_rays, shape, noise_stated=scan.noise_stated)
    problems = [*_conflicts(config, shape, handed_on), *_large_conflicts(config, n_rays, shape)]
    available = available_memory(device)
    short = cost.memory_bytes > available
    if short:
        problems.append(
            f"expected a reconstruction that fits into the {decimal(available)} of free memory, got grid.size "
            f"{size} with {n_rays:,} rays, which takes about {decimal(cost.memory_bytes)}: "
            + (_advice(scan, config, available) or "use a smaller network (network.channels), or more memory")
        )
    return Estimate(cost.memory_bytes, cost.seconds, n_rays, cost.n_weights, problems, short)


def _large_conflicts(config: Config, n_rays: int, shape: tuple[int, ...]) -> list[str]:
    """Settings that volumes, or rays whose covariance is not held, cannot have."""
    problems = []
    if len(shape) == 3:
        if config.fit.init != RANDOM:
            problems.append(
                f"expected fit.init=random for a volume, got {config.fit.init}: weights are trained on slices"
            )
        if config.prior.kind in ("tangent-kernel", "filter-gp"):
            problems.append(
                f"expected a prior.kind that knows volumes, got {config.prior.kind}: choose isotropic, layer, block or "
                "g-prior"
            )
        if config.evidence.method == "tv-map":
            problems.append(
                "expected an evidence.method that knows volumes, got tv-map, whose total variation is of images: "
                "choose held-out, exact or em"
            )
    if n_rays > config.posterior.cholesky_rays:
        limit = f"posterior.cholesky_rays={config.posterior.cholesky_rays:,}"
        if config.posterior.method in ("cholesky", "sdd"):
            problems.append(
                f"expected at most {limit} rays with posterior.method={config.posterior.method}, which holds their "
                f"covariance, got {n_rays:,}: choose auto, cg or sgd, a larger scan.detector_bin, or raise that limit"
            )
        if config.prior.kind == "tangent-kernel":
            problems.append(
                f"expected at most {limit} rays with prior.kind=tangent-kernel, got {n_rays:,}: choose "
                "prior.kind=isotropic, or a larger scan.detector_bin"
            )
    return problems


def _conflicts(config: Config, shape: tuple[int, ...], handed_on: InitialWeights | None) -> list[str]:
    """Settings that cannot go together."""
    problems, n_pixels = [], math.prod(shape)
    try:
        if len(shape) == 2:
            initial_weights(config, handed_on)
    except InputError as error:
        problems.append(str(error))
    if config.network.output == "sigmoid" and config.grid.largest_attenuation is None:
        problems.append(
            "expected grid.largest_attenuation (1/mm) with network.output=sigmoid, which cannot exceed it, got none: "
            "give it, or choose network.output=linear"
        )
    if config.prior.kind != "tangent-kernel":
        try:
            network = UNet(config.network, generator=torch.Generator(), dimensions=3 if len(shape) == 3 else 2)
            check_prior_kind(config.prior.kind, network)
        except ValueError as error:
            problems.append(f"{error} (prior.kind)")
        if config.fit.members > 1:
            problems.append(
                f"expected fit.members=1 with prior.kind={config.prior.kind}, which linearises one network, got "
                f"{config.fit.members}: choose 1, or for small images prior.kind=tangent-kernel"
            )
    else:
        if config.network.output != "sigmoid":
            problems.append(
                f"expected network.output=sigmoid with prior.kind=tangent-kernel, whose scale is the sigmoid's, got "
                f"{config.network.output}: choose sigmoid, or prior.kind=isotropic"
            )
        if config.posterior.method not in ("auto", "dense") or n_pixels > config.posterior.dense_pixels:
            problems.append(
                f"expected at most posterior.dense_pixels={config.posterior.dense_pixels} pixels and a dense posterior "
                f"with prior.kind=tangent-kernel, got {n_pixels} and posterior.method="
                f"{config.posterior.method}: choose prior.kind=isotropic, or a smaller grid.size"
            )
        if config.evidence.method != "held-out":
            problems.append(
                "expected evidence.method=held-out with prior.kind=tangent-kernel, which has no weights for another to "
                f"explain, got {config.evidence.method}: choose held-out, or prior.kind=isotropic"
            )
    return problems


def require_feasible(
    scan: Scan, config: Config, *, device: str = "cpu", handed_on: InitialWeights | None = None
) -> None:
    """Raise every reason why this reconstruction cannot be done; the arguments are those of `estimate`.

    Raises:
        ShortageError: too little memory is free, and nothing else is wrong.
        InputError: something else.
    """
    found = estimate(scan, config, device=device, handed_on=handed_on)
    if found.problems:
        kind = ShortageError if found.short and len(found.problems) == 1 else InputError
        raise kind("\n".join(found.problems))


def _grid(scan: Scan, config: Config) -> ImageGrid | VolumeGrid:
    """The image, or the volume: by default cubes that fill the detector's height at the axis."""
    size, geometry = _size_and_bin(scan, config)[0], scan.geometry
    pixel_mm = config.grid.pixel_mm or geometry.field_of_view_mm / size
    if not isinstance(geometry, ConeBeam):
        return ImageGrid(shape=(size, size), pixel_mm=pixel_mm)
    slices = config.grid.slices or max(1, round(geometry.field_height_mm / pixel_mm))
    return VolumeGrid(shape=(slices, size, size), pixel_mm=pixel_mm, centre_z_mm=geometry.field_centre_z_mm)


def _n_rays(scan: Scan, config: Config) -> int:
    factor = _size_and_bin(scan, config)[1]
    n_views = len(range(0, scan.geometry.n_angles, config.scan.angle_step))
    return n_views * math.prod(n // factor for n in scan.geometry.sinogram_shape[1:])


def _size_and_bin(scan: Scan, config: Config) -> tuple[int, int]:
    n_detectors = scan.geometry.n_detectors
    factor = config.scan.detector_bin
    if config.grid.size is None:
        factor = factor or 1
        return n_detectors // factor, factor
    # As many detector pixels as fit into an image pixel at the axis: finer rays see nothing that the grid can hold.
    return config.grid.size, factor or max(1, n_detectors // config.grid.size)


def _advice(scan: Scan, config: Config, available: int) -> str:
    """Settings that fit, fewer rays first: a smaller image loses more than they do. Empty where none does."""
    factor = _size_and_bin(scan, config)[1]
    options = []
    for name, now, entries in (
        ("angle_step", config.scan.angle_step, scan.geometry.n_angles),
        ("detector_bin", factor, min(scan.geometry.sinogram_shape[1:])),
    ):
        for value in range(now + 1, min(now * _MOST_THINNING, entries // _FEWEST_LEFT) + 1):
            trial = config.model_copy(update={"scan": config.scan.model_copy(update={name: value})})
            if _fits(scan, trial, available):
                options.append(f"scan.{name}={value}")
                break
    size = _largest_size(scan, config, available)
    options += [f"grid.size up to {size}"] if size else []
    return f"choose {', or '.join(options)}" if options else ""


def _fits(scan: Scan, config: Config, available: int) -> bool:
    # Memory does not depend on how often the network is trained.
    cost = Cost(config, _n_rays(scan, config), _grid(scan, config).shape, noise_stated=False)
    return cost.memory_bytes <= available


def _largest_size(scan: Scan, config: Config, available: int) -> int:
    low, high = 0, _size_and_bin(scan, config)[0]
    while high - low > 1:
        middle = (low + high) // 2
        trial = config.model_copy(update={"grid": config.grid.model_copy(update={"size": middle})})
        low, high = (middle, high) if _fits(scan, trial, available) else (low, middle)
    return low
