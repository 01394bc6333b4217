from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dip import (
    CholeskyUpdate,
    ConjugateGradientUpdate,
    DensePosterior,
    LinearModel,
    PosteriorMethod,
    PosteriorSettings,
    PriorSettings,
    SampledPosterior,
    SampleThenOptimiseUpdate,
    StochasticDualDescentUpdate,
    WeightRoot,
    length_name,
    linearisation_error,
    linearise,
)
from dip.weight_prior import PriorKind
from operators import ImageGrid, ParallelBeam, RayTransform
from operators.testing import assert_linear_map
from tests.cases import network_jacobian
from tests.dip.dense import conditioned, dense, generator, randn, standard_scores

SHAPE = (5, 7)
GEOMETRY = ParallelBeam(grid=ImageGrid(shape=SHAPE), angles_rad=(0.1, 0.9, 2.0), n_detectors=8)
RELATIVE_NOISE = 0.5 + randn(3, 8, seed=3).abs()
KINDS = {
    "cholesky": CholeskyUpdate,
    "cg": ConjugateGradientUpdate,
    "sgd": SampleThenOptimiseUpdate,
    "sdd": StochasticDualDescentUpdate,
}
MEAN = randn(*SHAPE, seed=4)


def model(kind: PriorKind = "isotropic", *, smooth_errors: bool = True) -> LinearModel:
    jacobian = network_jacobian(shape=SHAPE, batch=500)
    with torch.no_grad():
        image = jacobian.network(jacobian.network_input)[0, 0]
    return linearise(
        jacobian, RayTransform(GEOMETRY), image, kind=kind, relative_noise=RELATIVE_NOISE, smooth_errors=smooth_errors
    )


def variances(model: LinearModel) -> dict[str, float]:
    """Every term another one."""
    return {name: 0.3 + 0.2 * number for number, name in enumerate(model.covariance.names)}


@pytest.mark.parametrize("kind", ["isotropic", "layer", "block", "filter-gp", "g-prior"])
@pytest.mark.parametrize("smooth_errors", [True, False])
def test_the_rays_covariance_is_the_priors_and_the_noises(kind: PriorKind, smooth_errors: bool) -> None:
    linear = model(kind, smooth_errors=smooth_errors)
    v = variances(linear)
    matrix = dense(linear.transform)
    unit = torch.eye(24, dtype=torch.float64).reshape(24, 3, 8)
    noise = linear.noise(v).apply(unit).reshape(24, 24)
    smooth = {"smooth"} if smooth_errors else set()
    lengths = {length_name(name) for name, group in linear.groups.items() if group.correlated}
    assert set(linear.covariance.names) == {*linear.groups, "pixels", "representation", "noise"} | smooth | lengths
    torch.testing.assert_close(linear.covariance.matrix(v), matrix @ linear.prior(v).covariance() @ matrix.mT + noise)


@pytest.mark.parametrize("kind", ["block", "filter-gp", "g-prior"])
@pytest.mark.parametrize("smooth_errors", [True, False])
def test_products_of_some_rays_are_their_covariance(kind: PriorKind, smooth_errors: bool) -> None:
    linear, some = model(kind, smooth_errors=smooth_errors), torch.tensor([17, 3, 4, 20])
    # Whichever rays it holds the covariance of.
    holding = dataclasses.replace(linear, rays=some[:1], covariance=linear.covariance.select(some[:1]))
    v, rays = variances(linear), holding.latent_rays(some)
    factor = rays.factor(v)
    assert_linear_map(factor, generator=generator())
    matrix = dense(factor)
    expected = linear.covariance.select(some).matrix(v)
    torch.testing.assert_close(matrix @ matrix.mT + torch.diag(rays.diagonal(v)), expected, rtol=1e-6, atol=1e-9)
    every = torch.cat(list(rays.groups.values())).sort().values
    assert torch.equal(every, torch.arange(matrix.shape[1]))
    for name, index in rays.groups.items():
        more = dense(rays.factor(v | {name: 4 * v[name]}))
        torch.testing.assert_close(more[:, index], 2 * matrix[:, index])


@pytest.mark.parametrize("kind", ["filter-gp", "g-prior"])
def test_weight_draws_have_the_posteriors_covariance(kind: PriorKind) -> None:
    linear, n = model(kind), 1500
    v, weights = variances(linear), linear.jacobian.weights()
    root = dense(WeightRoot(linear.groups, v, weights))
    seen = dense(linear.transform) @ dense(linear.jacobian)
    rest = linear.covariance.matrix(v) - seen @ root @ root.mT @ seen.mT
    exact = conditioned(root @ root.mT, seen, rest)
    # Along some directions, those that the rays see best among them.
    directions = torch.cat([randn(4, len(weights)), seen[:4]])
    factor = torch.linalg.cholesky(linear.covariance.matrix(v))
    draws = linear.weight_draws(v, factor, n, generator=generator(8)) @ directions.mT
    assert float(standard_scores(draws, directions @ exact @ directions.mT).abs().max()) < 5


def test_linearisation_error_is_that_of_the_posteriors_weights() -> None:
    linear = model()
    v = variances(linear)
    factor = torch.linalg.cholesky(linear.covariance.matrix(v))
    draws = linear.weight_draws(v, factor, 5, generator=generator(8))
    found = linear.linearisation_error(v, factor, 5, generator=generator(8))
    assert found == linearisation_error(linear.jacobian, draws) > 0


def test_drive_is_the_residual_with_what_the_weights_project_to() -> None:
    assert torch.equal(model().drive(2 * model().response), 3 * model().response)


def test_response_is_what_the_weights_themselves_project_to() -> None:
    linear = model()
    image = linear.jacobian(linear.jacobian.weights())
    torch.testing.assert_close(linear.response, linear.transform(image).reshape(-1))


@pytest.mark.parametrize("method", get_args(PosteriorMethod))
def test_posterior_is_given_all_rays_about_the_mean(method: Any) -> None:
    linear = model()
    v, matrix = variances(linear), dense(linear.transform)
    noise = linear.noise(v).apply(torch.eye(24, dtype=torch.float64).reshape(24, 3, 8)).reshape(24, 24)
    expected = conditioned(linear.prior(v).covariance(), matrix, noise)
    settings = PosteriorSettings(method=method, n_samples=500, batch=500, tolerance=1e-3, preconditioner_rank=5)
    posterior = linear.posterior(v, MEAN, settings, generator=generator(7))
    assert isinstance(posterior, DensePosterior if method == "dense" else SampledPosterior)
    assert torch.equal(posterior.mean, MEAN)
    estimate = posterior.variance(generator=generator())
    relative: Tensor = estimate.variance / expected.diagonal().reshape(SHAPE) - 1
    assert float(relative.abs().max()) < (1e-8 if method == "dense" else 5 * math.sqrt(2 / 500))
    assert estimate.converged
    assert estimate.worst_residual <= 1e-3


@pytest.mark.parametrize(("method", "kind"), KINDS.items())
def test_every_method_has_its_update(method: Any, kind: type) -> None:
    settings = PosteriorSettings(method=method, tolerance=0.07, max_iterations=1)
    linear = model()
    posterior = linear.posterior(variances(linear), MEAN, settings, generator=generator())
    assert isinstance(posterior, SampledPosterior)
    assert isinstance(posterior._update, kind)
    assert posterior.sample(2, generator=generator()).tolerance == 0.07


def test_auto_is_dense_for_few_pixels_and_by_rays_beyond() -> None:
    settings = PosteriorSettings(dense_pixels=100, cholesky_rays=50)
    assert settings.method_for(100, 10**6) == "dense"
    assert settings.method_for(101, 50) == "cholesky"
    assert settings.method_for(101, 51) == "cg"
    for method in get_args(PosteriorMethod):
        assert PosteriorSettings(method=method).method_for(1, 1) == method
        assert PosteriorSettings(method=method).method_for(10**6, 10**6) == method


def test_every_ray_is_told() -> None:
    told: list[tuple[int, int]] = []
    jacobian = network_jacobian(shape=SHAPE)
    linearise(
        jacobian,
        RayTransform(GEOMETRY),
        torch.zeros(SHAPE),
        kind="isotropic",
        relative_noise=RELATIVE_NOISE,
        smooth_errors=True,
        on_step=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (36, 36)  # and sums over them, which count half
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert (24, 36) in told


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (PriorSettings, {"pixel_floor": 0.0}, "pixel_floor must be positive, got 0"),
        (PriorSettings, {"slope_floor": -1.0}, "slope_floor must be 0 or more"),
        (PriorSettings, {"slope_floor": math.nan}, "slope_floor must be 0 or more"),
        (PriorSettings, {"kind": "layered"}, "kind must be one of .* got 'layered'"),
        (PosteriorSettings, {"method": "samples"}, "method must be one of auto, dense, .*, got 'samples'"),
        (PosteriorSettings, {"tolerance": 0.0}, "tolerance must be positive, got 0"),
        (PosteriorSettings, {"tolerance": math.nan}, "tolerance must be positive, got nan"),
        (PosteriorSettings, {"max_iterations": 0}, "max_iterations must be at least 1"),
        (PosteriorSettings, {"preconditioner_rank": -1}, "preconditioner_rank must be at least 0"),
        (PosteriorSettings, {"n_samples": 1}, "n_samples must be at least 2, got 1"),
        (PosteriorSettings, {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)
