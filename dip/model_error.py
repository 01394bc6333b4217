"""Errors of the rays that no pixel image explains: edges inside pixels, and what is smooth along a view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from operators import LinearMap

_SMOOTH_LENGTH = 1 / 7  # of the detector


def representation_profile(image: Tensor, transform: LinearMap) -> Tensor:
    """Relative variance of each ray's representation error, mean 1, of the transform's out_shape, float64.

    A pixel that an edge crosses is wrong inside by a share of the contrast there, independently of other pixels. So a
    ray's error has a variance like the line integral of the squared local contrast: the largest difference among a
    pixel and its eight neighbours, or a voxel and its 26.

    Args:
        image: (row, col), or (slice, row, col).
        transform: image -> rays.
    """
    pool = functional.max_pool2d if image.ndim == 2 else functional.max_pool3d
    padded = functional.pad(image[None, None], (1, 1) * image.ndim, mode="replicate")
    contrast = pool(padded, 3, stride=1) + pool(-padded, 3, stride=1)
    profile = transform(contrast[0, 0].square()).double()
    mean = profile.mean()
    return profile / mean if mean > 0 else torch.ones_like(profile)


def smooth_correlation(n_detectors: int) -> Tensor:
    """Correlation of errors that vary slowly along a view, (detector, detector) float64.

    Beam hardening, scatter and a drifting beam leave views that disagree by a smooth function of the detector. It is
    drawn as a Gaussian process with the squared-exponential kernel, a seventh of the detector long.
    """
    place = torch.arange(n_detectors, dtype=torch.float64) / (_SMOOTH_LENGTH * n_detectors)
    return torch.exp(-0.5 * (place[:, None] - place).square())
