"""The main job: a scan in, an image with error bars and their calibration out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from ctuq.beware import beware
from ctuq.computing_device import memory_told, require_right_rays, within_memory
from ctuq.config import Config
from ctuq.errors import CtuqError, InputError
from ctuq.judging import Judged, judged, tempering
from ctuq.kept_samples import variance_and_samples
from ctuq.library_versions import library_versions
from ctuq.neighbour import Neighbour, neighbour_of
from ctuq.preparation import prepare, require_feasible
from ctuq.preprocessing import preprocess
from ctuq.problem import Problem, fit_networks, pose
from ctuq.processing_step import ProcessingStep
from ctuq.rays import Rays
from ctuq.reconstruction import Provenance, Reconstruction
from ctuq.scan import Scan
from ctuq.stage_watch import OnStep, StageWatch
from dip import (
    Fit,
    Learned,
    LinearModel,
    NetworkJacobian,
    Posterior,
    RayModel,
    Samples,
    VarianceEstimate,
    learn,
    learned_from,
    linearise,
    tangent_kernel,
)
from operators import GaussianNoise


def reconstruct(
    scan: Scan,
    config: Config | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    on_step: OnStep | None = None,
    neighbour: Neighbour | None = None,
) -> Reconstruction:
    """Reconstruct one slice, or a cone beam's volume, with a standard deviation for every pixel or voxel, and check it.

    A deep image prior is fitted to the rays, linearised at its weights, and its variances are learned on rays that were
    held out from the fit and then fitted too (arXiv 2203.00479, 2404.19157). Other held-out rays, which chose nothing,
    judge the error bars of a fit without them; then the image is refitted to all.

    Args:
        scan: line integrals and geometry.
        config: the defaults if left out.
        seed: with the scan's name, of every random draw.
        device: torch device for the network and the algebra.
        on_step: called as (stage, done, total, {name: value}).
        neighbour: `Reconstruction.neighbour` of the detector row before, for `fit.init=neighbour`: its network is where
            the fit starts, and its hold-out is shared.

    Raises:
        InputError: a scan or configuration that cannot be reconstructed, or that does not fit into memory; also
            `fit.init=neighbour` without a neighbour, or one without the other.
        CtuqError: a covariance that is singular in float64.
    """
    config = config or Config()
    watch = StageWatch(on_step)
    if not scan.sinogram.any():
        raise InputError("expected line integrals, got zeros everywhere: is this the right row, and not an air scan?")
    require_feasible(scan, config, device=device, handed_on=None if neighbour is None else neighbour.weights)
    with watch.stage("preprocess"):
        given, scan = scan, preprocess(scan, config.preprocessing, on_step=watch.step)
    with memory_told():  # a step is one pass of the whole network: nothing can be taken in parts
        problem = pose(prepare(scan, config), config, seed, device, neighbour)
        require_right_rays(problem.transform, device)
        with watch.stage("fit"):
            found = fit_networks(problem, config, watch)
    result, used = within_memory(lambda settings: _error_bars(problem, found, settings, watch), config)
    provenance = _provenance(given, scan.steps, used, seed, watch)
    if problem.start is not None:
        provenance = replace(provenance, initial_weights=problem.start.origin)
    if used != config:
        fewer = (
            f"posterior.batch={used.posterior.batch}, posterior.block={used.posterior.block} and "
            f"evidence.rows_gb={used.evidence.rows_gb:g}"
        )
        note = f"memory ran out, and the error bars were begun again with {fewer}: set these to save the first attempts"
        provenance = replace(provenance, notes=(note,))
    handed_on = neighbour_of(
        found, problem.scan, problem.holdout, rays_sha256=provenance.input_sha256, before=neighbour
    )
    return replace(_assemble(problem, found, result, used, provenance), neighbour=handed_on)


@dataclass(frozen=True)
class _Result:
    learned: Learned
    posterior: Posterior
    noise: GaussianNoise
    estimate: VarianceEstimate
    samples: Samples
    judged: Judged


def _error_bars(problem: Problem, found: Fit, config: Config, watch: StageWatch) -> _Result:
    with watch.stage("linearise"):
        model = _linearise(problem, found, config, watch)
    try:
        with watch.stage("evidence"):
            learned = _learn(problem, found, model, config, watch)
        with watch.stage("posterior"):
            return _infer(problem, found, model, learned, config, watch)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise CtuqError(
            f"expected rays whose covariance can be factorised, got one that is singular to rounding ({error}): try a "
            "larger prior.pixel_floor, or fewer views (scan.angle_step)"
        ) from error


def _linearise(problem: Problem, found: Fit, config: Config, watch: StageWatch) -> RayModel:
    batch, floor = config.posterior.batch, config.prior.slope_floor
    jacobians = [
        NetworkJacobian(network, start, batch=batch, slope_floor=floor)
        for network, start in zip(found.networks, problem.inputs, strict=True)
    ]
    if config.prior.kind == "tangent-kernel":
        return tangent_kernel(
            jacobians, problem.transform, found.image, relative_noise=problem.relative_noise, on_step=watch.step
        )
    n_rays = problem.data.numel()
    return linearise(
        jacobians[0],
        problem.transform,
        found.image,
        kind=config.prior.kind,
        relative_noise=problem.relative_noise,
        smooth_errors=problem.holdout.whole_views,
        rays=None
        if n_rays <= config.posterior.cholesky_rays
        else learned_from(problem.holdout, config.evidence.max_rays),
        rows_bytes=config.evidence.rows_gb * 1e9,
        on_step=watch.step,
    )


def _learn(problem: Problem, found: Fit, model: RayModel, config: Config, watch: StageWatch) -> Learned:
    return learn(
        model,
        found,
        problem.data,
        problem.holdout,
        floors=config.prior.floors,
        settings=config.evidence,
        solving=config.posterior,
        generator=problem.seeds("evidence"),
        on_step=watch.step,
    )


def _infer(
    problem: Problem, found: Fit, model: RayModel, learned: Learned, config: Config, watch: StageWatch
) -> _Result:
    """Temperature and verdict by rays that choose and judge; then, those included, the refitted image's posterior."""
    watch.step(0, 6)
    if isinstance(model, LinearModel) and len(model.rays) < problem.data.numel():
        # Solves for three questions follow, and the rays that are fitted are in all of them.
        seen = problem.holdout.fitted.all(dim=0)
        model = model.sketched(learned.variances, seen, config.posterior, problem.seeds("preconditioner"))
    watch.step(1, 6)
    tempered = tempering(problem, found, model, learned, config)
    learned = learned.scaled(tempered.factor, config.prior.floors)
    watch.step(2, 6)
    verdict = judged(problem, found, model, learned, tempered, config)
    cold = config.posterior.image_temperature
    watch.step(3, 6)
    # A posterior whose prior and noise are both scaled is scaled itself.
    physical = learned.scaled(cold * problem.scale**2, {}).variances
    mean = found.full_image * problem.scale
    posterior = model.posterior(physical, mean, config.posterior, generator=problem.seeds("posterior"))
    watch.step(4, 6)
    estimate, samples = variance_and_samples(
        posterior,
        config.posterior.kept_samples,
        draws=problem.seeds("variance"),
        further=problem.seeds("samples"),
    )
    watch.step(6, 6)
    return _Result(learned, posterior, model.noise(physical).cpu(), estimate, samples, verdict)


def _assemble(problem: Problem, found: Fit, result: _Result, config: Config, provenance: Provenance) -> Reconstruction:
    scale, learned = problem.scale, result.learned
    std = result.estimate.variance.sqrt()
    # d sd = d variance / (2 sd): a relative error half as large.
    standard_error = result.estimate.standard_error / (2 * std)
    drawn = float(result.samples.relative_residual.max())
    residual = float(
        torch.tensor([drawn, result.estimate.worst_residual, result.judged.worst_residual]).double().max()  # NaN stays
    )
    method = config.posterior.method_for(math.prod(problem.scan.geometry.grid.shape), problem.data.numel())
    notes = beware(
        learned,
        residual,
        method,
        config.posterior,
        linearisation_error=result.judged.linearisation_error,
        refit_misfit=found.refit_misfit,
        judging_draws=result.judged.draws,
    )
    noise = learned.variances["noise"] + learned.variances.get("representation", 0.0)
    return Reconstruction(
        image=result.posterior.mean.float().cpu(),
        std=std.float().cpu(),
        standard_error=standard_error.float().cpu(),
        samples=result.samples.images,
        noise_variance=noise * scale**2,
        grid=problem.scan.geometry.grid,
        calibration=result.judged.calibration,
        rays=Rays(problem.scan.geometry, result.noise, problem.scan.sinogram.float().cpu(), problem.scan.noise_stated),
        posterior=result.posterior,
        provenance=replace(provenance, notes=(*notes, *provenance.notes)),
        diagnostics=_diagnostics(scale, found, result, residual),
        fit_steps=found.steps,
        fit_loss=(found.loss * scale).cpu(),
        holdout_loss=(found.holdout_loss * scale).cpu(),
    )


def _diagnostics(scale: float, found: Fit, result: _Result, residual: float) -> dict[str, float]:
    learned = result.learned
    linearisation = (
        {} if result.judged.linearisation_error is None else {"linearisation_error": result.judged.linearisation_error}
    )
    return {
        "chosen_step": sum(found.chosen_steps) / len(found.chosen_steps),
        "tv_weight": found.tv_weight,
        "misfit_floor": found.misfit_floor,
        "refit_misfit": found.refit_misfit,
        "image_scale_per_mm": scale,
        "n_variance_samples": float(result.estimate.n_samples),
        "worst_sample_residual": residual,
        "log_density": learned.objective,
        "evidence_evaluations": float(learned.evaluations),
        "evidence_converged": float(learned.converged),
        **linearisation,
        **{name if name in learned.lengths else f"variance_{name}": value for name, value in learned.variances.items()},
    }


def _provenance(
    scan: Scan, steps: tuple[ProcessingStep, ...], config: Config, seed: int, watch: StageWatch
) -> Provenance:
    return Provenance(
        scan_name=scan.name,
        input_path=scan.file_name,
        input_sha256=scan.sha256,
        config=config.as_json(),
        seed=seed,
        versions=library_versions(),
        start_time=watch.start_time,
        end_time=datetime.now(UTC),
        stage_seconds=watch.seconds,
        command="",
        steps=steps,
    )
