from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from dip import DensePosterior, Posterior, SampledPosterior, covariance_root
from operators import GaussianNoise, MatrixMap
from tests.dip.dense import conditioned, generator, positive_definite, randn, standard_scores
from tests.dip.gaussian_model import METHODS, N_SAMPLES, SHAPE, Method, model, pathwise


def stacked(first: Tensor, second: Tensor) -> Tensor:
    covariance: Tensor = torch.block_diag(first, second)  # type: ignore[no-untyped-call]
    return covariance


MORE = MatrixMap(randn(3, 6, seed=20), in_shape=SHAPE)
MORE_NOISE = torch.tensor([0.2, 1.0, 0.01], dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 1])
def test_dense_covariance_is_the_closed_form(seed: int) -> None:
    posterior = model(seed).dense()
    torch.testing.assert_close(posterior.covariance(), model(seed).exact)
    estimate = posterior.variance()
    torch.testing.assert_close(estimate.variance, model(seed).exact.diagonal().reshape(SHAPE))
    assert not estimate.standard_error.any()
    assert (estimate.n_samples, estimate.worst_residual, estimate.converged) == (0, 0.0, True)


def test_dense_samples_have_the_covariance_about_the_mean() -> None:
    posterior = model().dense()
    samples = posterior.sample(N_SAMPLES, generator=generator())
    scores = standard_scores((samples.images - posterior.mean).flatten(1), model().exact)
    assert float(scores.abs().max()) < 5
    assert not samples.relative_residual.any()
    assert samples.converged


REGION = torch.tensor([[True, False, True], [False, True, True]])


def region_std_of_model(seed: int) -> float:
    weights = REGION.flatten().double() / 4
    return math.sqrt(float(weights @ model(seed).exact @ weights))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_regions_deviation_is_that_of_its_mean(seed: int) -> None:
    known = model(seed).dense().region_std(REGION)
    assert known.std == pytest.approx(region_std_of_model(seed), rel=1e-10)
    assert known.standard_error == 0
    assert known.converged


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_a_regions_sampled_deviation_is_that_of_its_mean(method: Method, seed: int) -> None:
    estimate = model(seed).sampled(method).region_std(REGION, generator=generator(seed))
    exact = region_std_of_model(seed)
    assert abs(estimate.std - exact) < 5 * estimate.standard_error
    assert estimate.standard_error == pytest.approx(exact / math.sqrt(2 * N_SAMPLES), rel=0.05)
    assert estimate.converged


def test_a_region_of_one_pixel_is_known_as_well_as_the_pixel() -> None:
    pixel = torch.zeros(SHAPE, dtype=torch.bool)
    pixel[1, 2] = True
    sampled = [model().sampled(method) for method in METHODS]
    every: list[Posterior] = [model().dense(), *sampled]
    for posterior in every:
        std = posterior.region_std(pixel, generator=generator()).std
        assert std == pytest.approx(float(posterior.variance(generator=generator()).variance[1, 2]) ** 0.5)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(SHAPE, dtype=torch.bool), "mask must have a pixel inside"),
        (REGION.mT, r"mask must be \(2, 3\) bool, got \(3, 2\)"),
        (REGION.double(), r"mask must be \(2, 3\) bool, got \(2, 3\) torch.float64"),
    ],
)
def test_a_region_that_is_none_is_refused(mask: Tensor, message: str) -> None:
    for posterior in (model().dense(), model().sampled()):
        with pytest.raises(ValueError, match=message):
            posterior.region_std(mask, generator=generator())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_sampled_variance_is_the_closed_form_within_its_error(method: Method, seed: int) -> None:
    estimate = model(seed).sampled(method).variance(generator=generator(seed))
    assert estimate.converged
    assert estimate.worst_residual <= 1e-3
    exact = model(seed).exact.diagonal().reshape(SHAPE)
    assert float(((estimate.variance / exact - 1) / math.sqrt(2 / N_SAMPLES)).abs().max()) < 5
    torch.testing.assert_close(estimate.standard_error, estimate.variance * math.sqrt(2 / N_SAMPLES))
    assert estimate.n_samples == N_SAMPLES


@pytest.mark.parametrize("seed", [0, 1])
def test_samples_have_the_closed_form_covariance_about_the_mean(seed: int) -> None:
    posterior = model(seed).sampled()
    samples = posterior.sample(N_SAMPLES, generator=generator(4))
    deviations = (samples.images - posterior.mean).flatten(1)
    assert float(standard_scores(deviations, model(seed).exact).abs().max()) < 5
    average = deviations.mean(0) / (model(seed).exact.diagonal() / N_SAMPLES).sqrt()
    assert float(average.abs().max()) < 5


@pytest.mark.parametrize("seed", [0, 1])
def test_sampled_covariance_is_exact(seed: int) -> None:
    torch.testing.assert_close(model(seed).sampled(block=4).covariance(), model(seed).exact)


@pytest.mark.parametrize("scale", [1.0, 1e5, 1e10])
def test_no_variance_is_negative_however_small_the_noise_beside_the_prior(scale: float) -> None:
    # As many rays as pixels: what is left of the prior is the noise alone.
    seen = torch.eye(6, dtype=torch.float64) + 0.1 * randn(6, 6, seed=1)
    factor = math.sqrt(scale) * covariance_root(torch.eye(6, dtype=torch.float64) + 0.5)
    posterior = DensePosterior(
        MatrixMap(seen, in_shape=SHAPE), factor, noise=GaussianNoise(1.0), mean=torch.zeros(SHAPE)
    )
    variance = posterior.variance().variance
    assert (variance > 0).all()
    precision = seen.mT @ seen + torch.cholesky_inverse(factor)
    expected = torch.linalg.inv(precision).diagonal().reshape(SHAPE)
    # The whitened prior is rounded at eps times its size, and that is what the noise is compared with.
    torch.testing.assert_close(variance, expected, rtol=100 * scale * torch.finfo(torch.float64).eps, atol=0)


MORE_SHARED = positive_definite(3, seed=21)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variance", [0.3, MORE_NOISE])
@pytest.mark.parametrize("shared", [None, MORE_SHARED])
def test_observing_is_conditioning_on_both(seed: int, variance: float | Tensor, shared: Tensor | None) -> None:
    more = GaussianNoise(variance, shared)
    first, transform = model(seed), MatrixMap(MORE.matrix, in_shape=SHAPE, out_shape=(1, 3))
    own = more.apply(torch.eye(3, dtype=torch.float64).reshape(3, 1, 3))[:, 0]
    noise = stacked(first.noise_covariance, own)
    expected = conditioned(first.factor @ first.factor.mT, torch.cat([first.seen, MORE.matrix]), noise)
    for posterior in (first.dense(), first.sampled(), first.sampled("cg")):
        richer = posterior.observing(transform, noise=more)
        assert type(richer) is type(posterior)
        torch.testing.assert_close(richer.covariance(), expected)
        samples = richer.sample(N_SAMPLES, generator=generator(5)).images
        assert float(standard_scores((samples - first.mean).flatten(1), expected).abs().max()) < 5
        assert torch.equal(richer.mean, first.mean)


@pytest.mark.parametrize("seed", [0, 1])
def test_new_views_are_as_noisy_as_the_old_unless_said(seed: int) -> None:
    first, two = model(seed), MatrixMap(MORE.matrix[:2], in_shape=SHAPE, out_shape=(1, 2))
    own = torch.eye(2, dtype=torch.float64) / first.noise.reciprocal().mean()
    noise = stacked(first.noise_covariance, own if first.shared is None else own + first.shared)
    expected = conditioned(first.factor @ first.factor.mT, torch.cat([first.seen, MORE.matrix[:2]]), noise)
    for posterior in (first.dense(), first.sampled()):
        torch.testing.assert_close(posterior.observing(two).covariance(), expected)


def test_later_views_are_like_the_last() -> None:
    first, two = model(), MatrixMap(MORE.matrix[:2], in_shape=SHAPE, out_shape=(1, 2))
    noise = stacked(first.noise_covariance, 0.7 * torch.eye(4, dtype=torch.float64))
    rays = torch.cat([first.seen, MORE.matrix[:2], MORE.matrix[:2]])
    expected = conditioned(first.factor @ first.factor.mT, rays, noise)
    for posterior in (first.dense(), first.sampled()):
        richer = posterior.observing(two, noise=GaussianNoise(0.7)).observing(two)
        torch.testing.assert_close(richer.covariance(), expected)


def test_observing_twice_in_either_order_is_the_same() -> None:
    other = MatrixMap(randn(2, 6, seed=30), in_shape=SHAPE)
    for posterior in (model().dense(), model().sampled()):
        one, two = (
            posterior.observing(a, noise=GaussianNoise(0.5)).observing(b, noise=GaussianNoise(0.5)).covariance()
            for a, b in itertools.permutations((MORE, other))
        )
        torch.testing.assert_close(one, two)


def test_relative_residual_is_rounding_where_the_data_covariance_is_what_the_maps_make() -> None:
    for posterior in (model().sampled(), model().sampled().observing(MORE)):
        worst = float(posterior.sample(500, generator=generator()).relative_residual.max())
        assert worst < 1000 * torch.finfo(torch.float64).eps * float(torch.linalg.cond(model().data_covariance))


def test_relative_residual_shows_a_data_covariance_that_is_not_what_the_maps_make() -> None:
    right = model()
    wrong = SampledPosterior(pathwise("cholesky", right.rays(), 1.05 * right.data_covariance), mean=right.mean)
    samples = wrong.sample(100, generator=generator())
    assert float(samples.relative_residual.min()) > 1e-3
    assert not samples.converged
    assert not wrong.variance(generator=generator()).converged
    assert not wrong.region_std(REGION, generator=generator()).converged


def test_same_generator_same_samples_and_any_number_of_them() -> None:
    sampled = [model().sampled(method, block=3) for method in METHODS]
    every: list[Posterior] = [model().dense(), *sampled]
    for posterior in every:
        first, again = (posterior.sample(7, generator=generator(1)) for _ in range(2))
        assert first.images.shape == (7, *SHAPE)
        assert first.relative_residual.shape == (7,)
        assert torch.equal(first.images, again.images)


def test_mean_is_the_one_given() -> None:
    assert torch.equal(model().dense().mean, model().mean)
    assert torch.equal(model().sampled().mean, model().mean)


def test_shapes_that_disagree_are_named() -> None:
    right = model()
    with pytest.raises(ValueError, match=r"factor must be \(6, rank\)"):
        DensePosterior(right.transform(), right.factor.mT, noise=GaussianNoise(1.0), mean=right.mean)


def test_covariance_root_survives_a_covariance_of_low_rank() -> None:
    columns = randn(6, 2)
    covariance = columns @ columns.mT
    root = covariance_root(covariance)
    assert torch.equal(root, root.tril())
    torch.testing.assert_close(root @ root.mT, covariance, rtol=0, atol=2e-12 * float(covariance.diagonal().max()))
