"""The educated start: networks trained on random ellipses, seen by the rays of a scan and with its noise."""

from __future__ import annotations

import math

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from ctuq.available_memory import available_memory
from ctuq.config import Config, PretrainingConfig
from ctuq.ellipses import random_ellipses
from ctuq.errors import CtuqError, InputError
from ctuq.initial_weights import InitialWeights, refuse_neighbour, shape_of
from ctuq.library_versions import library_versions
from ctuq.network_input import network_input, scale_of
from ctuq.preparation import prepare, require_feasible
from ctuq.preprocessing import preprocess
from ctuq.rays import degrees_of, geometry_attributes
from ctuq.scan import Scan, planar
from ctuq.stage_watch import OnStep, StageWatch
from dip import UNet, hold_out, pretrain_network
from dip.misfit import noise_level
from operators import ImageGrid, RayTransform

_HELD = 8  # bytes of a pixel: of the image, and of what the network is given for it, in float32
_TESTS = 16  # one image in so many is kept from training, to say how well it went


def pretrain(
    scan: Scan, config: Config | None = None, *, seed: int = 0, device: str = "cpu", on_step: OnStep | None = None
) -> InitialWeights:
    """Train the configured networks on random ellipses, for fits of scans like this one to start from.

    Of the scan, only its geometry, its masked rays and its noise are used. Every image is seen by rays like those that
    a fit is left with, and the networks learn to make it of the filtered back-projection (arXiv 2111.11926).

    Args:
        scan: line integrals and geometry.
        config: the defaults if left out; `pretraining`, `network` and `fit.members` say what is trained, and how.
        seed: of every random draw.
        device: torch device for the networks.
        on_step: called as (stage, done, total, {name: value}).

    Raises:
        InputError: a scan or configuration that cannot be reconstructed either, or images that do not fit into memory.
        CtuqError: training led nowhere.
    """
    config = config or Config()
    watch = StageWatch(on_step)
    planar(scan.geometry)  # of volumes nothing is computed
    refuse_neighbour(config)
    # The file that fit.init names may be what is made now.
    require_feasible(scan, config.from_random_weights, device=device)
    _require_memory(config.pretraining.images, prepare(scan, config).planar.grid)
    with watch.stage("preprocess"):
        prepared = prepare(preprocess(scan, config.preprocessing, on_step=watch.step), config)
    noise = _noise_share(prepared, config.pretraining)
    with watch.stage("simulate"):
        inputs, images = simulated_pairs(prepared, config, noise, rng=np.random.default_rng(seed), watch=watch)
    n_tests = max(1, len(images) // _TESTS)
    inputs, images = inputs.to(device), images.to(device)
    networks = [
        _trained(member, inputs[n_tests:], images[n_tests:], config, seed, watch)
        for member in range(config.fit.members)
    ]
    tests, truths = inputs[:n_tests], images[:n_tests]
    record = {
        "trained_on": "random ellipses",
        "versions": library_versions(),
        "seed": seed,
        "settings": config.as_json()["pretraining"],
        "geometry": _geometry_record(prepared),
        "noise_share": noise,
        "rms_error_of_input": float((tests - truths).square().mean().sqrt()),
        "rms_error": [_root_mean_square_error(network, tests, truths) for network in networks],
    }
    weights = tuple({name: value.cpu() for name, value in network.state_dict().items()} for network in networks)
    return InitialWeights(weights, shape_of(networks[0]), record)


def _require_memory(n_images: int, grid: ImageGrid) -> None:
    of_one = _HELD * math.prod(grid.shape)
    needed, available = n_images * of_one, available_memory()
    if needed > available:
        rows, cols = grid.shape
        raise InputError(
            f"expected images that fit into the {decimal(available)} of free memory, got pretraining.images={n_images} "
            f"of {rows} × {cols} pixels, which take about {decimal(needed)}: choose pretraining.images up to "
            f"{available // of_one}, or a smaller grid.size"
        )


def _trained(member: int, inputs: Tensor, images: Tensor, config: Config, seed: int, watch: StageWatch) -> UNet:
    """A network of its own draws, as every member's is."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, member]).generate_state(1)[0]))
    network = UNet(config.network, generator=generator).to(inputs.device)
    with watch.stage("pretrain" if config.fit.members == 1 else f"pretrain-{member + 1}"):
        try:
            pretrain_network(
                network, inputs, images, settings=config.pretraining, generator=generator, on_step=watch.step
            )
        except FloatingPointError as error:
            raise CtuqError(str(error)) from error
    return network


def simulated_pairs(
    scan: Scan, config: Config, noise: float, *, rng: np.random.Generator, watch: StageWatch
) -> tuple[Tensor, Tensor]:
    """What a network is given, and what it is to make of it: (n, 1, row, col) each, float32, in units of the scale.

    Args:
        scan: prepared.
        config: of images, scale and hold-out.
        noise: deviation of a ray, as a share of the mean line integral.
        rng: of ellipses, noise and hold-outs.
        watch: told of every image.
    """
    geometry, n_images = scan.planar, config.pretraining.images
    transform, grid = RayTransform(geometry), geometry.grid
    # A scan of an object that reaches beyond its detector would be another problem.
    within = torch.hypot(grid.x_mm(), grid.y_mm()[:, None]) <= geometry.field_of_view_mm / 2
    deviation = _relative_deviation(scan)
    # Filled in place: lists and what they are stacked to would be held twice.
    inputs, images = (torch.empty(n_images, 1, *grid.shape) for _ in range(2))
    for done in range(1, n_images + 1):
        image = torch.as_tensor(random_ellipses(grid.shape[0], rng=rng)) * within
        rays = transform(image)
        white = torch.as_tensor(rng.standard_normal(rays.shape))
        rays += noise * rays.abs().mean() * deviation * white
        generator = torch.Generator().manual_seed(int(rng.integers(2**32)))
        try:
            seen = hold_out(
                geometry.sinogram_shape,
                config.holdout.fraction,
                n_members=config.fit.members,
                masked=scan.masked,
                generator=generator,
            ).fitted[0]
        except ValueError as error:
            raise InputError(f"{error} (holdout.fraction, fit.members)") from error
        given = network_input(geometry, rays, seen)
        # The images' scale is the largest attenuation, where that is known.
        scale = 1.0 if config.grid.largest_attenuation else scale_of(given)
        inputs[done - 1, 0], images[done - 1, 0] = given / scale, image / scale
        watch.step(done, n_images)
    return inputs, images


def _noise_share(scan: Scan, settings: PretrainingConfig) -> float:
    """Deviation of a ray's noise over the mean line integral: as set, or as the scan shows it."""
    if settings.noise is not None:
        return settings.noise
    used = ~scan.masked
    precision = torch.where(used, _relative_deviation(scan) ** -2, 0.0)
    mean = float(scan.sinogram[used].abs().double().mean())
    return noise_level(scan.sinogram.double(), precision) / mean if mean else 0.0


def _relative_deviation(scan: Scan) -> Tensor:
    """Of each ray's noise, (angle, detector) float64; 0 for rays that are masked."""
    if not isinstance(scan.noise_variance, Tensor):
        return torch.ones(scan.sinogram.shape, dtype=torch.float64)
    variance = scan.noise_variance.double().cpu()
    relative = (variance * variance.reciprocal().mean()).sqrt()
    return torch.where(scan.masked.cpu(), 0.0, relative)


def _root_mean_square_error(network: UNet, inputs: Tensor, images: Tensor) -> float:
    with torch.no_grad():
        squares = [(network(one[None])[0] - image).square().mean() for one, image in zip(inputs, images, strict=True)]
    return math.sqrt(float(torch.stack(squares).mean()))


def _geometry_record(scan: Scan) -> dict[str, object]:
    geometry = scan.geometry
    return {
        **geometry_attributes(geometry),
        "angles_deg": degrees_of(geometry.angles_rad).tolist(),
        "n_detectors": geometry.n_detectors,
        "size": geometry.grid.shape[0],
        "pixel_mm": geometry.grid.pixel_mm,
    }
