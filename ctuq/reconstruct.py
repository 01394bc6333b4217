"""The main job: a scan in, an image with error bars and their calibration out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor

from ctuq.config import Config
from ctuq.errors import InputError
from ctuq.network_input import network_input
from ctuq.preparation import prepare, require_feasible
from ctuq.reconstruction import Provenance, Reconstruction
from ctuq.scan import Scan
from dip import (
    Calibration,
    DensePosterior,
    Fit,
    Holdout,
    Learned,
    NetworkJacobian,
    NetworkPrior,
    RayCovariance,
    SampledPosterior,
    Samples,
    UNet,
    VarianceEstimate,
    calibrate,
    covariance_root,
    fit,
    gram_matrices,
    hold_out,
    log_evidence,
    log_predictive,
    maximise,
    predictive_factor,
    ray_jacobian,
    representation_profile,
    weight_groups,
)
from operators import RaySubset, RayTransform

OnStep = Callable[[str, int, int, Mapping[str, float]], None]

_LIBRARIES = ("ctuq", "torch", "numpy", "scipy", "astra-toolbox", "h5py")


def reconstruct(
    scan: Scan, config: Config | None = None, *, seed: int = 0, device: str = "cpu", on_step: OnStep | None = None
) -> Reconstruction:
    """Reconstruct one slice with a standard deviation for every pixel, and check it on held-out rays.

    A deep image prior is fitted to the rays, linearised at its weights, and its variances are learned on rays that were
    held out from the fit and then fitted too (arXiv 2203.00479, 2404.19157). Other held-out rays, which chose nothing
    and enter neither image nor error bars, judge the error bars.

    Args:
        scan: line integrals and geometry.
        config: the defaults if left out.
        seed: with the scan's name, of every random draw.
        device: torch device for the network and the algebra.
        on_step: called as (stage, done, total, {name: value}).

    Raises:
        InputError: a scan or configuration that cannot be reconstructed, or that does not fit into memory.
    """
    config = config or Config()
    watch = _Watch(on_step)
    if not scan.sinogram.any():
        raise InputError("expected line integrals, got zeros everywhere: is this the right row, and not an air scan?")
    require_feasible(scan, config)
    problem = _pose(prepare(scan, config), config, seed, device)
    with watch.stage("fit"):
        found = _fit(problem, config, watch)
    with watch.stage("linearise"):
        linear = _linearise(problem, found, config, watch)
    with watch.stage("evidence"):
        learned, temperature = _learn(problem, found, linear, config, watch)
    with watch.stage("posterior"):
        result = _infer(problem, found, linear, learned, temperature, config, watch)
    return _assemble(scan, problem, found, learned, result, config, seed, watch)


@dataclass(frozen=True)
class _Problem:
    """The scan in dimensionless units: images divided by `scale` (1/mm)."""

    scan: Scan
    transform: RayTransform
    data: Tensor  # (angle, detector), mm
    relative_noise: Tensor  # (angle, detector) float64, mean 1
    scale: float
    network_input: Tensor  # (1, 1, row, col)
    holdout: Holdout
    seeds: Callable[[str], torch.Generator]


@dataclass(frozen=True)
class _Linear:
    jacobian: NetworkJacobian
    groups: dict[str, Tensor]
    covariance: RayCovariance  # of all rays
    response: Tensor  # A J w*, (rays,) float64: what the linear model's zero-mean prior adds to the data


@dataclass(frozen=True)
class _Result:
    posterior: DensePosterior | SampledPosterior
    estimate: VarianceEstimate
    samples: Samples
    calibration: Calibration


class _Watch:
    """Times stages and passes their steps on."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.start_time = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self._on_step = on_step
        self._stage = ""

    def stage(self, name: str) -> _Watch:
        self._stage = name
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()
        self.step(0, 1)

    def __exit__(self, *_: object) -> None:
        self.seconds[self._stage] = time.perf_counter() - self._entered

    def step(self, done: int, total: int, info: Mapping[str, float] | None = None) -> None:
        if self._on_step is not None:
            self._on_step(self._stage, done, total, info or {})


def _generators(scan_name: str, seed: int) -> Callable[[str], torch.Generator]:
    """One stream of random numbers for each purpose, so that drawing more for one changes no other."""

    def generator(purpose: str) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}:{scan_name}:{purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    return generator


def _pose(scan: Scan, config: Config, seed: int, device: str) -> _Problem:
    seeds = _generators(scan.name, seed)
    try:
        holdout = hold_out(scan.geometry.sinogram_shape, config.holdout.fraction, generator=seeds("holdout"))
    except ValueError as error:
        raise InputError(f"{error} (holdout.fraction)") from error
    start = network_input(scan.geometry, scan.sinogram, holdout.fitted)
    scale = config.prior.largest_attenuation or float(np.quantile(start.abs().cpu().numpy(), 0.99)) or 1.0
    noise = torch.ones(scan.geometry.sinogram_shape, dtype=torch.float64)
    if isinstance(scan.noise_variance, Tensor):
        noise = scan.noise_variance.double().cpu() / float(scan.noise_variance.double().mean())
    return _Problem(
        scan,
        RayTransform(scan.geometry),
        (scan.sinogram / scale).to(device),
        noise.to(device),
        scale,
        (start / scale)[None, None].float().to(device).contiguous(memory_format=torch.channels_last),
        Holdout(*(rays.to(device) for rays in (holdout.fitted, holdout.chooses, holdout.judges))),
        seeds,
    )


def _fit(problem: _Problem, config: Config, watch: _Watch) -> Fit:
    network = UNet(config.network, generator=problem.seeds("network"))

    def on_step(done: int, total: int, info: Mapping[str, float]) -> None:
        watch.step(done, total, {name: value * problem.scale for name, value in info.items()})

    return fit(
        network.to(problem.data.device).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        problem.network_input,
        problem.transform,
        problem.data,
        precision=problem.relative_noise.reciprocal(),
        fitted=problem.holdout.fitted,
        held_out=problem.holdout.chooses,
        settings=config.fit,
        on_step=on_step,
    )


def _linearise(problem: _Problem, found: Fit, config: Config, watch: _Watch) -> _Linear:
    jacobian = NetworkJacobian(
        found.network,
        problem.network_input,
        batch=config.posterior.batch,
        slope_floor=config.prior.slope_floor,
    )
    groups = weight_groups(jacobian, config.prior.kind)
    rows = ray_jacobian(jacobian, problem.transform, on_step=watch.step)
    grams = gram_matrices(rows, groups)
    matrix = problem.transform.matrix()
    grams["pixels"] = torch.as_tensor((matrix @ matrix.T).toarray()).to(rows.device)
    diagonals = {
        "representation": representation_profile(found.image, problem.transform).reshape(-1),
        "noise": problem.relative_noise.reshape(-1),
    }
    return _Linear(jacobian, groups, RayCovariance(grams, diagonals), (rows @ jacobian.weights()).double())


def _learn(problem: _Problem, found: Fit, linear: _Linear, config: Config, watch: _Watch) -> tuple[Learned, float]:
    """Variances of all terms, and the factor by which the choosing rays then scaled them."""
    chooses = problem.holdout.chooses.reshape(-1)
    rays = torch.nonzero(_conditioned_on(problem.holdout, config.evidence.max_rays) | chooses)[:, 0]
    covariance, held = linear.covariance.select(rays), chooses[rays]
    held_residual = found.holdout_residual.reshape(-1).double()[rays]
    # What the linear model with its zero-mean prior has to explain: y − A x̂ + A J w*.
    drive = ((problem.data - problem.transform(found.image)).reshape(-1).double() + linear.response)[rays]
    noise = float(held_residual[held].square().mean())
    start = covariance.start(signal=100 * noise, noise=noise)

    share = config.evidence.fitted_share * float(held.sum()) / float((~held).sum())

    def objective(variances: dict[str, float]) -> tuple[float, Tensor]:
        evidence, evidence_slope = log_evidence(covariance, variances, drive)
        if config.evidence.method == "exact":
            return evidence, evidence_slope
        value, slope = log_predictive(covariance, variances, held_residual, held)
        return value + share * evidence, slope + share * evidence_slope

    floors = {"pixels": config.prior.pixel_floor**2}
    learned = maximise(
        objective,
        start,
        floors=floors,
        max_evaluations=config.evidence.max_evaluations,
        on_step=lambda done, total, value: watch.step(done, total, {"log_density": value}),
    )
    temperature = _temperature(problem, found, linear, learned)
    return learned.scaled(temperature, floors), temperature


def _temperature(problem: _Problem, found: Fit, linear: _Linear, learned: Learned) -> float:
    """Chi-square of the choosing rays given all that were fitted, as the final posterior is."""
    rays = torch.nonzero(~problem.holdout.judges.reshape(-1))[:, 0]
    held = problem.holdout.chooses.reshape(-1)[rays]
    factor = torch.linalg.cholesky(linear.covariance.select(rays).matrix(learned.variances))
    residual = found.holdout_residual.reshape(-1).double()[rays][held]
    return calibrate(residual, predictive_factor(factor, held)).chi_square


def _conditioned_on(holdout: Holdout, max_rays: int) -> Tensor:
    """Fitted rays of evenly spread views, at most `max_rays`: enough to learn a few variances from. (rays,) bool."""
    views = torch.nonzero(holdout.fitted.any(dim=1))[:, 0]
    n_kept = max(1, min(len(views), max_rays // holdout.fitted.shape[1]))
    kept = torch.zeros_like(holdout.fitted)
    kept[views[torch.linspace(0, len(views) - 1, n_kept).round().long()]] = True
    return (kept & holdout.fitted).reshape(-1)


def _infer(
    problem: _Problem, found: Fit, linear: _Linear, learned: Learned, temperature: float, config: Config, watch: _Watch
) -> _Result:
    judges = problem.holdout.judges.reshape(-1)
    residual = (problem.data - problem.transform(found.image)).reshape(-1).double()
    all_rays = torch.linalg.cholesky(linear.covariance.matrix(learned.variances))
    angles = [problem.scan.geometry.angles_rad[view] for view in problem.holdout.judging_views.tolist()]
    calibration = calibrate(
        residual[judges], predictive_factor(all_rays, judges), temperature=temperature, angles_rad=tuple(angles)
    )
    watch.step(1, 4)
    posterior = _posterior(problem, found, linear, learned, config)
    watch.step(2, 4)
    samples = posterior.sample(config.posterior.kept_samples, generator=problem.seeds("samples"))
    estimate = posterior.variance(generator=problem.seeds("variance"))
    watch.step(4, 4)
    return _Result(posterior, estimate, samples, calibration)


def _posterior(
    problem: _Problem, found: Fit, linear: _Linear, learned: Learned, config: Config
) -> DensePosterior | SampledPosterior:
    """Given the rays that the network was fitted to; those that judge stay out of image and error bars alike."""
    rays = torch.nonzero(~problem.holdout.judges.reshape(-1))[:, 0]
    transform = RaySubset(problem.transform, rays)
    covariance = linear.covariance.select(rays)
    scale = problem.scale  # from here on images are in 1/mm
    noise = covariance.diagonal(learned.variances) * scale**2
    weight_variance = _weight_variance(linear, learned) * scale**2
    prior = NetworkPrior(linear.jacobian, weight_variance, learned.variances["pixels"] * scale**2)
    mean = found.image * scale
    settings = config.posterior
    if settings.method == "dense" or (settings.method == "auto" and found.image.numel() <= settings.dense_pixels):
        root = covariance_root(prior.covariance())
        return DensePosterior(transform, root, noise_variance=noise, mean=mean)
    return SampledPosterior(
        transform,
        prior,
        noise_variance=noise,
        data_factor=torch.linalg.cholesky(covariance.matrix(learned.variances)) * scale,
        mean=mean,
        n_samples=settings.n_samples,
        batch=settings.batch,
    )


def _weight_variance(linear: _Linear, learned: Learned) -> Tensor:
    variance = torch.empty(linear.jacobian.in_shape)
    for name, index in linear.groups.items():
        variance[index] = learned.variances[name]
    return variance.to(linear.response.device)


def _assemble(
    scan: Scan,
    problem: _Problem,
    found: Fit,
    learned: Learned,
    result: _Result,
    config: Config,
    seed: int,
    watch: _Watch,
) -> Reconstruction:
    scale = problem.scale
    std = result.estimate.variance.sqrt()
    # d sd = d variance / (2 sd): a relative error half as large.
    standard_error = result.estimate.standard_error / (2 * std)
    residual = max(result.estimate.worst_residual, float(result.samples.relative_residual.max()))
    diagnostics = {
        "chosen_step": float(found.step),
        "tv_weight": found.tv_weight,
        "misfit_floor": found.misfit_floor,
        "image_scale_per_mm": scale,
        "n_variance_samples": float(result.estimate.n_samples),
        "worst_sample_residual": residual,
        "log_density": learned.objective,
        "evidence_evaluations": float(learned.evaluations),
        "evidence_converged": float(learned.converged),
        **{f"variance_{name}": value for name, value in learned.variances.items()},
    }
    noise = learned.variances["noise"] + learned.variances["representation"]
    return Reconstruction(
        image=result.posterior.mean.float().cpu(),
        std=std.float().cpu(),
        standard_error=standard_error.float().cpu(),
        samples=result.samples.images.float().cpu(),
        noise_variance=noise * scale**2,
        grid=problem.scan.geometry.grid,
        calibration=result.calibration,
        posterior=result.posterior,
        provenance=_provenance(scan, config, seed, watch, _notes(learned, residual, config.posterior.n_samples)),
        diagnostics=diagnostics,
        fit_steps=found.steps,
        fit_loss=found.loss * scale,
        holdout_loss=found.holdout_loss * scale,
    )


def _notes(learned: Learned, residual: float, n_samples: int) -> tuple[str, ...]:
    notes = []
    limit = 1 / math.sqrt(2 * n_samples)  # the deviation's own relative standard error
    if residual > limit:
        notes.append(
            f"expected samples whose data mismatch is below the deviation's own error of {100 * limit:.0f} %, got "
            f"{100 * residual:.0f} %: take the deviation as no better known; posterior.method=dense is exact"
        )
    if not learned.converged:
        notes.append(
            f"the variances were still improving after {learned.evaluations} evaluations: try a larger "
            "evidence.max_evaluations"
        )
    return tuple(notes)


def _provenance(scan: Scan, config: Config, seed: int, watch: _Watch, notes: tuple[str, ...]) -> Provenance:
    return Provenance(
        scan_name=scan.name,
        input_path="",
        input_sha256=scan.sha256,
        config=config.as_json(),
        seed=seed,
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
        start_time=watch.start_time,
        end_time=datetime.now(UTC),
        stage_seconds=watch.seconds,
        command="",
        notes=notes,
    )
