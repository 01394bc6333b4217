"""The joint log-likelihood that error bars would have with more or less knowledge than they come with."""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from dip.metrics import joint_log_likelihood


def constant_log_likelihood(psnr_db: float, *, floor: float) -> float:
    """Of an image whose pixels all have its root mean square error as their deviation, nats a pixel.

    No constant can do better for that image, and only the truth tells which it is.
    """
    mean_square = 10 ** (-psnr_db / 10)
    variance = max(mean_square, floor)
    return -0.5 * (mean_square / variance + math.log(2 * math.pi * variance))


def best_log_likelihood(error: Tensor, covariance: Tensor, *, floor: float) -> float:
    """Highest log N(error; 0, a C + b I + floor I) per pixel over all a, b ≥ 0, in nats.

    The truth chooses a and b for each image: no way to find them from the rays can do better.

    Args:
        error: (row, col).
        covariance: C, (row · col, row · col).
        floor: variance.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    eigenvalues = values.clamp(min=0).numpy()
    squares = (vectors.mT @ error.double().reshape(-1)).square().numpy()

    def minus_density(logs: np.ndarray) -> float:
        factor, extra = np.exp(logs)
        variances = factor * eigenvalues + extra + floor
        return 0.5 * float(np.mean(squares / variances + np.log(2 * math.pi * variances)))

    starts = [(math.log(factor), math.log(extra)) for factor in (0.1, 1.0, 10.0, 100.0) for extra in (1e-6, 1e-4, 1e-2)]
    found = [scipy.optimize.minimize(minus_density, start, method="Nelder-Mead").fun for start in starts]
    return -float(min(found))


def variants(error: Tensor, covariance: Tensor, *, floor: float) -> dict[str, float]:
    """Joint log-likelihoods of the covariance's diagonal alone, and of both at their best (see above)."""
    diagonal = covariance.diagonal().diag()
    return {
        "diagonal_joint_log_likelihood": joint_log_likelihood(error, diagonal, floor=floor),
        "best_joint_log_likelihood": best_log_likelihood(error, covariance, floor=floor),
        "best_diagonal_joint_log_likelihood": best_log_likelihood(error, diagonal, floor=floor),
    }
