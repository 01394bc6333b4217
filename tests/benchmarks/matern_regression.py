"""Gaussian-process regression with a Matérn field: what a scan's image gets without a network.

ν = 3/2; its length, variances, constant and noise by the exact evidence, its own mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import ctuq
from dip import DensePosterior, Learned, MaternPrior, RayCovariance, covariance_root, log_evidence, maximise
from operators import GaussianNoise, RayTransform

LENGTHS_MM = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def matern_posterior(scan: ctuq.Scan) -> DensePosterior:
    """Regression with the length whose evidence is highest."""
    transform = RayTransform(scan.geometry)
    matrix = torch.as_tensor(transform.matrix().toarray())
    data = scan.sinogram.double().reshape(-1)
    fields = {length: _field(scan, length) for length in LENGTHS_MM}
    learned = {length: _learn(matrix, field, data) for length, field in fields.items()}
    length = max(learned, key=lambda length: learned[length].objective)
    variances = learned[length].variances
    prior = variances["field"] * fields[length] + variances["constant"]
    rays = matrix @ prior @ matrix.mT + variances["noise"] * torch.eye(len(data), dtype=torch.float64)
    mean = (prior @ matrix.mT @ torch.linalg.solve(rays, data)).reshape(transform.in_shape)
    return DensePosterior(transform, covariance_root(prior), noise=GaussianNoise(variances["noise"]), mean=mean)


def _field(scan: ctuq.Scan, length_mm: float) -> Tensor:
    """Covariance of all pixels, (row · col, row · col)."""
    factor = MaternPrior(scan.planar.grid, smoothness=1.5, length_mm=length_mm, variance=1.0)
    n_pixels = math.prod(factor.out_shape)
    unit = torch.eye(n_pixels, dtype=torch.float64).reshape(n_pixels, *factor.out_shape)
    return factor(factor.adjoint(unit)).reshape(n_pixels, n_pixels)


def _learn(matrix: Tensor, field: Tensor, data: Tensor) -> Learned:
    ones = matrix.sum(dim=1)
    covariance = RayCovariance(
        {"field": matrix @ field @ matrix.mT, "constant": torch.outer(ones, ones)}, {"noise": torch.ones_like(data)}
    )
    power = float(data.square().mean())
    return maximise(
        lambda variances: log_evidence(covariance, variances, data),
        covariance.start(signal=power, noise=1e-3 * power),
        max_evaluations=60,
    )
