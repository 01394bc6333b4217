from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from dip.metrics import joint_log_likelihood, patch_log_likelihood, patches, score_pixels
from tests.dip.dense import positive_definite, randn


def test_joint_log_likelihood_is_scipys_with_the_floor() -> None:
    error, covariance = randn(3, 4), positive_definite(12)
    expected = multivariate_normal(np.zeros(12), covariance.numpy() + 0.2 * np.eye(12)).logpdf(error.reshape(-1)) / 12
    assert joint_log_likelihood(error, covariance, floor=0.2) == pytest.approx(float(expected))


def test_patches_are_the_squares_with_their_blocks() -> None:
    error, covariance = torch.arange(35.0).reshape(5, 7), positive_definite(35)
    errors, blocks = patches(error, covariance, 2)
    assert errors.shape == (6, 2, 2)
    assert errors[4].tolist() == [[16.0, 17.0], [23.0, 24.0]]
    index = torch.tensor([16, 17, 23, 24])
    assert torch.equal(blocks[4], covariance[index[:, None], index])


def test_patches_of_one_pixel_are_single_pixels_and_of_the_whole_the_joint() -> None:
    error, covariance = randn(4, 4), positive_definite(16)
    std = covariance.diagonal().sqrt().reshape(4, 4)
    single = patch_log_likelihood(*patches(error, covariance, 1), floor=0.1)
    assert single == pytest.approx(score_pixels(error, std, floor=0.1).log_likelihood)
    whole = patch_log_likelihood(*patches(error, covariance, 4), floor=0.1)
    assert whole == pytest.approx(joint_log_likelihood(error, covariance, floor=0.1))


def test_scores_of_the_model_itself_have_their_known_values() -> None:
    n = 200_000
    std = 0.1 + randn(n, seed=1).abs()
    scores = score_pixels(std * randn(n, seed=2), std, floor=0.0)
    for level, observed in ((0.5, scores.coverage_50), (0.9, scores.coverage_90), (0.95, scores.coverage_95)):
        assert abs(observed - level) < 5 * math.sqrt(level * (1 - level) / n)
    assert abs(scores.rms_z - 1) < 5 / math.sqrt(2 * n)
    assert scores.calibration_error < 5 * 0.5 / math.sqrt(n)
    assert scores.rank_correlation > 0.3
    # Of a Gaussian, the score is sd/√π on average.
    assert scores.crps == pytest.approx(float(std.mean()) / math.sqrt(math.pi), rel=0.02)


def test_error_bars_twice_too_wide_are_seen() -> None:
    scores = score_pixels(randn(100_000), 2 * torch.ones(100_000), floor=0.0)
    assert scores.rms_z == pytest.approx(0.5, rel=0.02)
    assert scores.coverage_95 == pytest.approx(2 * norm.cdf(2 * 1.959964) - 1, abs=1e-3)
    assert scores.calibration_error > 0.2
    assert math.isnan(scores.rank_correlation)


def test_crps_is_its_integral() -> None:
    error, std = 0.7, 0.4
    expected = quad(lambda t: (norm.cdf(t / std) - (t >= error)) ** 2, -6, 6, points=[error])[0]
    scores = score_pixels(torch.tensor([error]), torch.tensor([std]), floor=0.0)
    assert scores.crps == pytest.approx(expected, rel=1e-6)


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        score_pixels(torch.zeros(2), torch.ones(3), floor=0.0)
