"""Errors of single rays that come from the pixel grid: an edge inside a pixel is not where any pixel image has it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from operators import LinearMap


def representation_profile(image: Tensor, transform: LinearMap) -> Tensor:
    """Relative variance of each ray's representation error, mean 1, of the transform's out_shape, float64.

    A pixel that an edge crosses is wrong inside by a share of the contrast there, independently of other pixels. So a
    ray's error has a variance like the line integral of the squared local contrast: the largest difference among a
    pixel and its eight neighbours.

    Args:
        image: (row, col).
        transform: image -> rays.
    """
    padded = functional.pad(image[None, None], (1, 1, 1, 1), mode="replicate")
    contrast = functional.max_pool2d(padded, 3, stride=1) + functional.max_pool2d(-padded, 3, stride=1)
    profile = transform(contrast[0, 0].square()).double()
    mean = profile.mean()
    return profile / mean if mean > 0 else torch.ones_like(profile)
