from __future__ import annotations

import pytest
import torch
from torch import Tensor

from operators import GaussianNoise, Noise, StackedNoise

PER_RAY = torch.tensor([[0.1, 0.5, 2.0], [1.0, 0.3, 0.7]])
SHARED = torch.tensor([[1.0, 0.6, 0.1], [0.6, 0.8, 0.3], [0.1, 0.3, 0.5]], dtype=torch.float64)
ONE_RAY = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
BOTH = pytest.mark.parametrize("variance", [0.25, PER_RAY])
WITH_VIEWS = pytest.mark.parametrize("shared", [None, SHARED])


def written_out(variance: float | Tensor, shared: Tensor | None) -> Tensor:
    """N, (6, 6) float64."""
    own = torch.diag(torch.as_tensor(variance, dtype=torch.float64).expand(2, 3).reshape(-1))
    return own if shared is None else own + torch.kron(torch.eye(2, dtype=torch.float64), shared)


@BOTH
@WITH_VIEWS
def test_apply_is_the_covariance(variance: float | Tensor, shared: Tensor | None) -> None:
    columns = GaussianNoise(variance, shared).apply(ONE_RAY).reshape(6, 6)
    torch.testing.assert_close(columns, written_out(variance, shared))


@BOTH
@WITH_VIEWS
def test_whitening_by_hand(variance: float | Tensor, shared: Tensor | None) -> None:
    root_inverse = GaussianNoise(variance, shared).whiten(ONE_RAY).reshape(6, 6).mT
    precision = torch.linalg.inv(written_out(variance, shared))
    torch.testing.assert_close(root_inverse.mT @ root_inverse, precision, rtol=1e-6, atol=1e-6)


def assert_whitening_has_its_transpose(noise: Noise, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close((noise.whiten(a) * b).sum(), (a * noise.whiten_adjoint(b)).sum())
    torch.testing.assert_close(noise.whiten(noise.apply(noise.whiten_adjoint(a))), a)


@BOTH
@WITH_VIEWS
def test_whitening_has_its_transpose(variance: float | Tensor, shared: Tensor | None) -> None:
    noise = GaussianNoise(variance, shared)
    assert_whitening_has_its_transpose(noise, (2, 3))
    assert_whitening_has_its_transpose(StackedNoise(noise, GaussianNoise(0.3), ((2, 3), (4,))), (10,))


@BOTH
@WITH_VIEWS
def test_samples_whiten_to_unit_noise(variance: float | Tensor, shared: Tensor | None) -> None:
    noise = GaussianNoise(variance, shared)
    n = 20_000
    white = noise.whiten(noise.sample((n, 2, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    covariance = white.reshape(n, 6).mT.cov()
    assert float((covariance - torch.eye(6)).abs().max()) < 5 * (2 / n) ** 0.5
    assert float(white.mean(0).abs().max()) < 5 / n**0.5


@WITH_VIEWS
def test_standard_deviation_is_of_single_rays(shared: Tensor | None) -> None:
    expected = written_out(PER_RAY, shared).diagonal().sqrt().reshape(2, 3)
    torch.testing.assert_close(GaussianNoise(PER_RAY, shared).standard_deviation(ONE_RAY), expected)


@WITH_VIEWS
def test_further_views_have_the_mean_variance(shared: Tensor | None) -> None:
    typical = GaussianNoise(PER_RAY, shared).typical()
    assert typical.variance == pytest.approx(6 / float((1 / PER_RAY).sum()))
    assert typical.view_covariance is shared


@WITH_VIEWS
def test_one_further_view_has_every_pixels_mean_variance(shared: Tensor | None) -> None:
    found = GaussianNoise(PER_RAY, shared).of_a_view()
    torch.testing.assert_close(torch.as_tensor(found.variance), 2 / (1 / PER_RAY.double()).sum(dim=0, keepdim=True))
    assert found.view_covariance is shared
    assert found.of_a_view().variance == pytest.approx(found.variance)
    assert GaussianNoise(0.25, shared).of_a_view().variance == 0.25


def test_masked_rays_say_nothing_of_further_views() -> None:
    masked = torch.full((2, 3), 0.5)
    masked[0, 0] = 1e9
    assert GaussianNoise(masked).typical().variance == pytest.approx(0.6)


def test_stacked_noise_is_block_diagonal() -> None:
    first, second = GaussianNoise(PER_RAY, SHARED), GaussianNoise(0.25)
    stacked = StackedNoise(first, second, ((2, 3), (4,)))
    expected = torch.zeros(10, 10, dtype=torch.float64)
    expected[:6, :6] = written_out(PER_RAY, SHARED)
    expected[6:, 6:] = 0.25 * torch.eye(4)
    unit = torch.eye(10, dtype=torch.float64)
    torch.testing.assert_close(stacked.apply(unit), expected)
    root_inverse = stacked.whiten(unit).mT
    torch.testing.assert_close(root_inverse.mT @ root_inverse, torch.linalg.inv(expected), rtol=1e-6, atol=1e-6)
    n = 20_000
    draws = stacked.sample((n, 10), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    white = stacked.whiten(draws)
    assert float((white.mT.cov() - torch.eye(10)).abs().max()) < 5 * (2 / n) ** 0.5
    for further in (stacked.typical(), stacked.of_a_view()):
        assert further.apply(torch.ones(2, 3)).equal(second.apply(torch.ones(2, 3)))


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan"), torch.tensor([[1.0, 0.0]])])
def test_variance_must_be_positive(variance: float | Tensor) -> None:
    with pytest.raises(ValueError, match="variance must be positive"):
        GaussianNoise(variance)


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(detector, detector\) and finite, got \(2, 3\)"):
        GaussianNoise(1.0, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"and finite, got \(3, 3\)"):
        GaussianNoise(1.0, SHARED * torch.nan)
    with pytest.raises(ValueError, match="the same detector, got 3 and 4"):
        GaussianNoise(torch.ones(2, 4), SHARED)
    with pytest.raises(ValueError, match=r"views of 3 detector pixels, got \(2, 4\)"):
        GaussianNoise(1.0, SHARED).whiten(torch.zeros(2, 4))


def test_rays_of_a_volume_share_errors_along_their_detector_row() -> None:
    variance = torch.rand(2, 3, 4, dtype=torch.float64) + 0.5
    shared = torch.full((4, 4), 0.3, dtype=torch.float64) + 0.1 * torch.eye(4)
    noise = GaussianNoise(variance, shared)
    unit = torch.eye(24, dtype=torch.float64).reshape(24, 2, 3, 4)
    covariance = torch.diag(variance.reshape(-1)) + torch.kron(torch.eye(6, dtype=torch.float64), shared)
    torch.testing.assert_close(noise.apply(unit).reshape(24, 24), covariance)
    whitened = noise.whiten(noise.whiten(covariance.reshape(24, 2, 3, 4)).reshape(24, 24).mT.reshape(24, 2, 3, 4))
    torch.testing.assert_close(whitened.reshape(24, 24), torch.eye(24, dtype=torch.float64))
    torch.testing.assert_close(noise.whiten_adjoint(unit).reshape(24, 24), noise.whiten(unit).reshape(24, 24).mT)
