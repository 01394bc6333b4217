from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dip import (
    EvidenceSettings,
    Fit,
    NetworkJacobian,
    PosteriorSettings,
    TangentKernelModel,
    UNet,
    UNetSettings,
    hold_out,
    learn,
    tangent_kernel,
)
from dip.tangent_kernel import tangent_correlation
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.dip.dense import conditioned, dense, generator, randn

SHAPE = (6, 5)
TRANSFORM = RayTransform(ParallelBeam(grid=ImageGrid(shape=SHAPE), angles_rad=(0.1, 0.9, 1.8), n_detectors=7))
VARIANCES = {"network": 1.5, "flat": 0.1, "pixels": 1e-3, "noise": 0.02}


def jacobian(seed: int = 0, *, output: str = "sigmoid") -> NetworkJacobian:
    settings = UNetSettings(channels=(3, 4), skip_channels=(0,), output=output)  # type: ignore[arg-type]
    network = UNet(settings, generator=generator(seed)).double()
    return NetworkJacobian(network, randn(1, 1, *SHAPE, seed=seed), slope_floor=0.02)


def image() -> Tensor:
    return torch.sigmoid(3 * randn(*SHAPE, seed=2))


def model(*, output: str = "sigmoid") -> TangentKernelModel:
    members = [jacobian(seed, output=output) for seed in (0, 1)]
    return tangent_kernel(members, TRANSFORM, image(), relative_noise=torch.ones(3, 7, dtype=torch.float64))


def test_correlation_is_the_tangent_kernels() -> None:
    matrix = dense(jacobian())
    gram = matrix @ matrix.mT
    std = gram.diagonal().sqrt()
    torch.testing.assert_close(tangent_correlation(jacobian()), gram / torch.outer(std, std))


def test_correlation_knows_nothing_of_the_slope_of_the_output() -> None:
    torch.testing.assert_close(tangent_correlation(jacobian()), tangent_correlation(jacobian(output="linear")))


class _Hiding(nn.Module):
    """Sets one pixel to zero."""

    def forward(self, x: Tensor) -> Tensor:
        shown = torch.ones_like(x)
        shown[..., 2, 3] = 0
        return x * shown


def test_a_pixel_that_no_weight_moves_is_alone() -> None:
    moving = jacobian(output="linear")
    moving.network.output = _Hiding()
    still = NetworkJacobian(moving.network, moving.network_input)
    correlation = tangent_correlation(still)
    assert torch.equal(correlation[13], torch.eye(30, dtype=torch.float64)[13])
    assert correlation.isfinite().all()


def test_members_kernels_are_averaged_and_scaled_by_the_sigmoids_slope() -> None:
    mean = (tangent_correlation(jacobian(0)) + tangent_correlation(jacobian(1))) / 2
    kernels = model().kernels
    torch.testing.assert_close(kernels["flat"], mean)
    reach = kernels["network"].diagonal().sqrt().reshape(SHAPE)
    torch.testing.assert_close(kernels["network"], torch.outer(reach.flatten(), reach.flatten()) * mean)
    slope = 4 * image() * (1 - image())
    assert (reach >= slope * (1 - 1e-12)).all()
    steepest = slope == slope.max()
    torch.testing.assert_close(reach[steepest], slope[steepest])


def test_beside_a_steep_pixel_a_saturated_one_may_move() -> None:
    flat = torch.zeros(SHAPE, dtype=torch.float64)
    flat[2, 2] = 0.5
    members = [jacobian()]
    kernel = tangent_kernel(members, TRANSFORM, flat, relative_noise=torch.ones(3, 7)).kernels["network"]
    reach = kernel.diagonal().sqrt().reshape(SHAPE)
    assert float(reach[2, 2]) == pytest.approx(1.0)
    assert float(reach[1, 1]) == float(reach[3, 2]) == pytest.approx(0.4)
    assert float(reach[4, 4]) == 0.0


def test_a_linear_output_is_refused() -> None:
    with pytest.raises(ValueError, match="expected networks with a sigmoid output, got linear ones"):
        model(output="linear")


def test_posterior_is_the_closed_form() -> None:
    found = model()
    matrix = dense(TRANSFORM)
    prior = sum(VARIANCES[name] * kernel for name, kernel in found.kernels.items())
    assert isinstance(prior, Tensor)
    torch.testing.assert_close(prior, found.prior_covariance(VARIANCES))
    noise = 0.02 * torch.eye(21, dtype=torch.float64)
    torch.testing.assert_close(found.covariance.matrix(VARIANCES), matrix @ prior @ matrix.mT + noise)
    posterior = found.posterior(VARIANCES, image())
    torch.testing.assert_close(posterior.covariance(), conditioned(prior, matrix, noise), atol=1e-9, rtol=1e-6)
    assert torch.equal(posterior.mean, image())


def test_it_has_no_weights_to_judge_the_linearisation_by() -> None:
    assert model().linearisation_error(VARIANCES, torch.eye(21), 5, generator=generator()) is None


def fit(residual: Tensor) -> Fit:
    nothing, network = torch.zeros(1), UNet(UNetSettings(channels=(2,), skip_channels=()), generator=generator())
    return Fit((network, network), image(), image(), 0.0, math.inf, (1, 1), residual, nothing, nothing, nothing)


HOLDOUT = hold_out((3, 7), 0.15, n_members=2, generator=generator())


def learned_from(residual: Tensor, method: str = "held-out") -> dict[str, float]:
    settings = EvidenceSettings(method=method, max_evaluations=200)  # type: ignore[arg-type]
    kept = torch.where(HOLDOUT.chooses, residual, 0.0)
    data = randn(3, 7)
    floors = {"pixels": 1e-9}
    return learn(
        model(),
        fit(kept),
        data,
        HOLDOUT,
        floors=floors,
        settings=settings,
        solving=PosteriorSettings(),
        generator=generator(),
    ).variances


def test_where_rays_say_nothing_the_hyperprior_decides() -> None:
    """Few rays move the image's variances little from what is known of them before; the noise is theirs alone."""
    found = learned_from(0.3 * randn(2, 3, 7, seed=1))
    for name, prior in model().hyperprior.variances.items():
        assert abs(math.log(found[name] / prior.median)) < 3 * prior.spread
    larger = learned_from(3.0 * randn(2, 3, 7, seed=1))
    assert larger["noise"] > 10 * found["noise"]


def test_methods_that_need_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="method must be held-out for a tangent kernel, got exact"):
        learned_from(randn(2, 3, 7), method="exact")
