"""The joint log-likelihood of error bars whose covariance has been given a factor and an extra variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor


def constant_log_likelihood(psnr_db: float, *, floor: float) -> float:
    """Of an image whose pixels all have its root mean square error as their deviation, nats a pixel.

    No constant can do better for that image, and only the truth tells which it is.
    """
    mean_square = 10 ** (-psnr_db / 10)
    variance = max(mean_square, floor)
    return -0.5 * (mean_square / variance + math.log(2 * math.pi * variance))


@dataclass(frozen=True)
class Spectrum:
    """One image's error in the axes of its covariance C.

    Args:
        variances: (pixels,), eigenvalues of C.
        squares: (pixels,), squared components of the error.
    """

    variances: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, error: Tensor, covariance: Tensor) -> Spectrum:
        """Of an error (row, col) and C (row · col, the same)."""
        values, vectors = torch.linalg.eigh(covariance.double())
        return cls(values.clamp(min=0).numpy(), (vectors.mT @ error.double().reshape(-1)).square().numpy())

    @classmethod
    def of_diagonal(cls, error: Tensor, covariance: Tensor) -> Spectrum:
        """The same of the diagonal of C alone."""
        return cls(covariance.diagonal().numpy(), error.double().reshape(-1).square().numpy())

    def log_likelihood(self, *, factor: float = 1.0, extra: float = 0.0, floor: float) -> float:
        """Log N(error; 0, factor · C + (extra + floor) · I) per pixel, in nats."""
        variances = factor * self.variances + extra + floor
        return -0.5 * float(np.mean(self.squares / variances + np.log(2 * math.pi * variances)))


def best_inflation(spectra: Sequence[Spectrum], *, floor: float) -> dict[str, float]:
    """The "factor" and "extra" variance under which images have the highest mean log-likelihood."""

    def loss(logs: np.ndarray) -> float:
        factor, extra = (float(value) for value in np.exp(np.clip(logs, -30, 30)))
        return -float(np.mean([one.log_likelihood(factor=factor, extra=extra, floor=floor) for one in spectra]))

    # A minimum may be local: with a large factor or with a large extra.
    starts = [(math.log(factor), math.log(extra)) for factor in (0.1, 1, 10, 100) for extra in (1e-6, 1e-4, 1e-2)]
    found = [scipy.optimize.minimize(loss, start, method="Nelder-Mead") for start in starts]
    factor, extra = np.exp(np.clip(min(found, key=lambda one: float(one.fun)).x, -30, 30))
    return {"factor": float(factor), "extra": float(extra)}
