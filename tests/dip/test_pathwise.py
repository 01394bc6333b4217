from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dip import (
    CholeskyUpdate,
    ConjugateGradientUpdate,
    DensePosterior,
    NetworkPrior,
    PathwiseUpdate,
    SampledPosterior,
    SampleThenOptimiseUpdate,
    StochasticDualDescentUpdate,
    WeightRoot,
    WhitenedRays,
    covariance_root,
    weight_groups,
)
from operators import GaussianNoise, ImageGrid, MatrixMap, ParallelBeam, RayTransform
from tests.cases import network_jacobian
from tests.dip.dense import dense, generator, randn
from tests.dip.gaussian_model import METHODS, Method, Model, model, pathwise

NETWORK_NOISE = 1.0
ITERATIVE: tuple[Method, ...] = ("cg", "sgd", "sdd")


def draws(rays: WhitenedRays, n: int = 3) -> tuple[Tensor, Tensor]:
    """u and ε."""
    noise = rays.noise.sample((n, *rays.out_shape), generator=generator(51), dtype=torch.float64)
    return randn(n, *rays.in_shape, seed=50), noise


def written_out(rays: WhitenedRays, latent: Tensor, noise: Tensor) -> Tensor:
    """u + Φᵀ(I + ΦΦᵀ)⁻¹(R⁻¹ε − Φ u)."""
    phi = dense(rays)
    white = rays.noise.whiten(noise).flatten(1)
    data = white - latent @ phi.mT
    gram = phi @ phi.mT + torch.eye(len(phi), dtype=torch.float64)
    draw: Tensor = latent + torch.linalg.solve(gram, data.mT).mT @ phi
    return draw


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_same_draw(method: Method, seed: int) -> None:
    small = model(seed)
    latent, noise = draws(small.rays())
    update = pathwise(method, small.rays(), small.data_covariance)(latent, noise)
    expected = written_out(small.rays(), latent, noise)
    torch.testing.assert_close(update.latent, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(update.images.flatten(1), expected @ small.factor.mT, rtol=0, atol=1e-6)
    assert update.relative_residual.shape == (3,)
    assert float(update.relative_residual.max()) <= 1e-9


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_same_draw_with_more_rays(method: Method, seed: int) -> None:
    small = model(seed)
    more = MatrixMap(randn(2, 6, seed=20), in_shape=(2, 3), out_shape=(1, 2))
    richer = pathwise(method, small.rays(), small.data_covariance).observing(more, noise=GaussianNoise(0.3))
    latent, noise = draws(richer.rays)
    update = richer(latent, noise)
    torch.testing.assert_close(update.latent, written_out(richer.rays, latent, noise), rtol=0, atol=1e-6)
    assert float(update.relative_residual.max()) <= richer.tolerance


def test_dual_descent_bears_passes_in_float32_and_rays_measured_twice() -> None:
    scan = ParallelBeam(grid=ImageGrid(shape=(8, 8)), angles_rad=[0.3 * k for k in range(8)], n_detectors=10)
    again = ParallelBeam(grid=ImageGrid(shape=(8, 8)), angles_rad=[0.3, 0.9], n_detectors=10)
    factor = MatrixMap(randn(64, 120, seed=3).float(), out_shape=(8, 8))
    rays = WhitenedRays(RayTransform(scan), factor, GaussianNoise(1e-2), torch.float32)
    whole = rays.covariance_rows(80)
    update = StochasticDualDescentUpdate(rays, whole, tolerance=0.1, sweeps=300, rank=256, generator=generator(0))
    richer = update.observing(RayTransform(again), noise=GaussianNoise(1e-2))
    latent, noise = draws(richer.rays)
    assert float(richer(latent.float(), noise).relative_residual.max()) < 1


@pytest.mark.parametrize("method", ITERATIVE)
def test_stopping_early_shows(method: Method) -> None:
    small = model()
    rays = small.rays()
    latent, noise = draws(rays)
    update: PathwiseUpdate
    if method == "cg":
        update = ConjugateGradientUpdate(rays, tolerance=1e-3, iterations=1, rank=0, generator=generator())
    else:
        update = pathwise(method, rays, small.data_covariance, tolerance=1e-3, iterations=1)
    found = update(latent, noise)
    assert float(found.relative_residual.min()) > 1e-3
    posterior = SampledPosterior(update, mean=small.mean, n_samples=4, block=1)
    assert not posterior.sample(4, generator=generator()).converged
    assert not posterior.variance(generator=generator()).converged


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("method", ITERATIVE)
def test_the_residual_bounds_the_error_in_deviations(method: Method, iterations: int, seed: int) -> None:
    small = model(seed)
    rays, (latent, noise) = small.rays(), draws(small.rays(), 20)
    found = pathwise(method, rays, small.data_covariance, tolerance=1e-12, iterations=iterations)(latent, noise)
    error = found.latent - written_out(rays, latent, noise)
    # In units of the posterior's deviation: |(I + ΦᵀΦ)^(1/2) (u' − exact)|² = |error|² + |Φ error|².
    squared = error.square().sum(1) + (error @ dense(rays).mT).square().sum(1)
    bound = found.relative_residual * rays.noise.whiten(noise).flatten(1).norm(dim=1)
    assert (squared.sqrt() <= bound * (1 + 1e-6) + 1e-9).all()


@pytest.mark.parametrize("method", ITERATIVE)
def test_no_method_uses_up_its_generator(method: Method) -> None:
    rays, more = model(1).rays(), MatrixMap(randn(2, 6, seed=20), in_shape=(2, 3), out_shape=(1, 2))
    update = pathwise(method, rays, model(1).data_covariance, tolerance=0.1)
    one, two = (update.observing(more, noise=GaussianNoise(0.3)) for _ in range(2))
    given = draws(one.rays)
    first = one(*given).latent
    assert torch.equal(first, one(*given).latent)
    assert torch.equal(first, two(*given).latent)


def test_dual_descent_is_nesterovs_where_a_block_is_all_rays() -> None:
    small = model(1)
    white = small.rays().whiten_covariance(small.data_covariance)
    latent, noise = draws(small.rays())
    start = small.rays().noise.whiten(noise).flatten(1)
    data = start - latent @ dense(small.rays()).mT
    point, velocity = torch.zeros_like(start), torch.zeros_like(start)
    for _ in range(4):
        gradient = (point + 0.9 * velocity) @ white - data
        velocity = 0.9 * velocity - gradient / torch.linalg.eigvalsh(white)[-1]
        point = point + velocity
    update = StochasticDualDescentUpdate(small.rays(), white, tolerance=1e-9, sweeps=4, rank=0, generator=generator())
    expected = latent + point @ dense(small.rays())
    torch.testing.assert_close(update(latent, noise).latent, expected)


@pytest.mark.parametrize("method", ITERATIVE)
def test_the_residual_of_the_rays_is_what_is_left_of_the_noise(method: Method) -> None:
    small = model()
    latent, noise = draws(small.rays())
    found = pathwise(method, small.rays(), small.data_covariance, tolerance=1e-12, iterations=2)(latent, noise)
    # The rays outnumber neither pixels nor latent variables: u' − u = Φᵀβ has one solution.
    phi, white = dense(small.rays()), small.rays().noise.whiten(noise).flatten(1)
    dual = (found.latent - latent) @ torch.linalg.pinv(phi)
    left = white - dual - found.latent @ phi.mT
    torch.testing.assert_close(found.relative_residual, left.norm(dim=1) / white.norm(dim=1), rtol=1e-6, atol=1e-12)


def test_a_ray_to_be_ignored_hides_no_other() -> None:
    small = model()
    masked = Model(small.seen, small.factor, small.noise * torch.tensor([1e12, 1, 1, 1]), small.mean)
    wrong = pathwise("cholesky", masked.rays(), masked.data_covariance + 0.1 * torch.diag(small.noise))
    assert float(wrong(*draws(masked.rays())).relative_residual.min()) > 1e-3


def test_three_passes_a_draw_by_cholesky_and_two_for_every_step() -> None:
    rays, covariance = model().rays(), model().data_covariance
    for method, iterations, expected in (("cholesky", 1, 3), ("cg", 1, 5), ("sgd", 5, 13), ("sdd", 20, 3)):
        update = pathwise(method, rays, covariance, tolerance=1e-14, iterations=iterations)  # type: ignore[arg-type]
        assert update(*draws(rays)).passes == expected


def network_rays() -> WhitenedRays:
    """A small U-Net seen by three views in float32, some of its variance far above the noise."""
    jacobian = network_jacobian(torch.float32, shape=(16, 16), batch=100)
    groups = weight_groups(jacobian, "isotropic", sensitivity=torch.ones(jacobian.in_shape))
    geometry = ParallelBeam(grid=ImageGrid(shape=(16, 16)), angles_rad=(0.1, 0.9, 2.0), n_detectors=12)
    prior = NetworkPrior(jacobian, WeightRoot(groups, {"all": 0.3}, jacobian.weights()), 0.01)
    return WhitenedRays(RayTransform(geometry), prior, GaussianNoise(NETWORK_NOISE), torch.float32)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_a_networks_images(method: Method) -> None:
    rays, mean, n = network_rays(), torch.zeros(16, 16), 150
    exact = DensePosterior(
        rays.transform, covariance_root(dense_covariance(rays)), noise=rays.noise, mean=mean
    ).variance()
    phi = dense(rays.transform)
    update = pathwise(
        method, rays, phi @ dense_covariance(rays) @ phi.mT + NETWORK_NOISE * torch.eye(36), tolerance=0.01
    )
    estimate = SampledPosterior(update, mean=mean, n_samples=n, block=100).variance(generator=generator(6))
    assert estimate.converged
    assert float(((estimate.variance / exact.variance - 1) / math.sqrt(2 / n)).abs().max()) < 5


def dense_covariance(rays: WhitenedRays) -> Tensor:
    assert isinstance(rays.factor, NetworkPrior)
    return rays.factor.covariance()


@pytest.mark.parametrize("seed", [0, 1])
def test_whitened_covariance_and_its_last_rows(seed: int) -> None:
    small = model(seed)
    phi = dense(small.rays())
    expected = phi @ phi.mT + torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(small.rays().whiten_covariance(small.data_covariance), expected)
    torch.testing.assert_close(small.rays().covariance_rows(3), expected[1:])


def test_wrong_requests_are_refused() -> None:
    rays, eye = model().rays(), torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"data_factor must be \(4, 4\)"):
        CholeskyUpdate(rays, eye, tolerance=0.1)
    with pytest.raises(ValueError, match=r"covariance must be \(4, 4\)"):
        StochasticDualDescentUpdate(rays, eye, tolerance=0.1, sweeps=1, rank=0, generator=generator())
    with pytest.raises(ValueError, match=r"block >= 1 .* got 1, 0 and"):
        StochasticDualDescentUpdate(
            rays, model().data_covariance, tolerance=0.1, sweeps=1, rank=0, block=0, generator=generator()
        )
    with pytest.raises(ValueError, match=r"iterations >= 1 .* got 0 and"):
        SampleThenOptimiseUpdate(rays, tolerance=0.1, iterations=0, rank=0, generator=generator())
    with pytest.raises(ValueError, match="rank >= 0, got -1"):
        ConjugateGradientUpdate(rays, tolerance=0.1, iterations=5, rank=-1, generator=generator())
