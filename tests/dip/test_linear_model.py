from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dip import (
    DensePosterior,
    LinearModel,
    PosteriorSettings,
    PriorSettings,
    SampledPosterior,
    WeightRoot,
    length_name,
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
MEAN = randn(*SHAPE, seed=4)


def model(kind: PriorKind = "isotropic", *, smooth_errors: bool = True) -> LinearModel:
    jacobian = network_jacobian(shape=SHAPE)
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
    v, rays = variances(linear), linear.latent_rays(some)
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
    draws = linear.weight_draws(v, n, generator=generator(8)) @ directions.mT
    assert float(standard_scores(draws, directions @ exact @ directions.mT).abs().max()) < 5


def test_response_is_what_the_weights_themselves_project_to() -> None:
    linear = model()
    image = linear.jacobian(linear.jacobian.weights())
    torch.testing.assert_close(linear.response, linear.transform(image).reshape(-1))


@pytest.mark.parametrize(("method", "kind"), [("dense", DensePosterior), ("samples", SampledPosterior)])
def test_posterior_is_given_all_rays_about_the_mean(method: Any, kind: type) -> None:
    linear = model()
    v, matrix = variances(linear), dense(linear.transform)
    noise = linear.noise(v).apply(torch.eye(24, dtype=torch.float64).reshape(24, 3, 8)).reshape(24, 24)
    expected = conditioned(linear.prior(v).covariance(), matrix, noise)
    posterior = linear.posterior(v, MEAN, PosteriorSettings(method=method, n_samples=4000, batch=500))
    assert isinstance(posterior, kind)
    assert torch.equal(posterior.mean, MEAN)
    estimate = posterior.variance(generator=generator())
    relative: Tensor = estimate.variance / expected.diagonal().reshape(SHAPE) - 1
    assert float(relative.abs().max()) < (5 * math.sqrt(2 / 4000) if method == "samples" else 1e-8)
    assert estimate.worst_residual < 1e-9


def test_auto_is_dense_up_to_a_size() -> None:
    settings = PosteriorSettings(dense_pixels=100)
    assert settings.is_dense(100)
    assert not settings.is_dense(101)
    assert PosteriorSettings(method="dense").is_dense(10**6)
    assert not PosteriorSettings(method="samples").is_dense(1)


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
    assert told[-1] == (24, 24)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (PriorSettings, {"pixel_floor": 0.0}, "pixel_floor must be positive, got 0"),
        (PriorSettings, {"slope_floor": -1.0}, "slope_floor must be 0 or more"),
        (PriorSettings, {"slope_floor": math.nan}, "slope_floor must be 0 or more"),
        (PriorSettings, {"kind": "layered"}, "kind must be one of .* got 'layered'"),
        (PosteriorSettings, {"method": "cg"}, "method must be auto, dense or samples, got 'cg'"),
        (PosteriorSettings, {"n_samples": 1}, "n_samples must be at least 2, got 1"),
        (PosteriorSettings, {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)
