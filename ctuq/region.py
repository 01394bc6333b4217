"""The mean over a region of the image, with its error bar: pixels err together, so that it is not the pixels' mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.posterior import Posterior, region_weights


@dataclass(frozen=True)
class RegionMean:
    """How much there is in a region, and how well that is known.

    Args:
        mean: of the image over the region's pixels, 1/mm.
        std: its posterior standard deviation, 1/mm.
        standard_error: Monte Carlo standard error of `std`, 1/mm; 0 where it is exact.
    """

    mean: float
    std: float
    standard_error: float

    def __str__(self) -> str:
        """In words, for a line of numbers."""
        share = 100 * self.standard_error / self.std if self.std else 0.0
        known = f", known to {share:.0f} %" if share else ""
        return f"{with_deviation(self.mean, self.std)} 1/mm (one deviation{known})"


def with_deviation(value: float, std: float) -> str:
    """A value and its deviation, both to the second digit of the deviation, so that their digits match."""
    if not (std > 0 and math.isfinite(std)):
        return f"{value:.4g} ± {std:.2g}"
    digits = max(0, 1 - math.floor(math.log10(float(f"{std:.1e}"))))
    return f"{value:.{digits}f} ± {std:.{digits}f}"


def region_by_posterior(posterior: Posterior, mask: Tensor, *, generator: torch.Generator) -> RegionMean:
    """From a posterior: exact, or by samples drawn for it.

    Args:
        posterior: in 1/mm.
        mask: (row, col) bool.
        generator: of the samples.

    Raises:
        ValueError: a mask that is empty, not boolean, or not of the image's shape.
    """
    known = posterior.region_std(mask, generator=generator)
    mean = float((posterior.mean.double() * region_weights(mask, posterior.mean.shape)).sum())
    return RegionMean(mean, known.std, known.standard_error)


def region_by_samples(image: Tensor, samples: Tensor, mask: Tensor) -> RegionMean:
    """From samples that were kept, about the image, which is their known mean.

    Args:
        image: (row, col), 1/mm.
        samples: (n, row, col), 1/mm.
        mask: (row, col) bool.

    Raises:
        ValueError: a mask that is empty, not boolean, or not of the image's shape; no samples.
    """
    if len(samples) == 0:
        raise ValueError("expected samples to tell a region's deviation by, got none")
    weights = region_weights(mask, image.shape)
    mean = float((image.double() * weights).sum())
    of_samples = (samples.double() * weights).flatten(1).sum(1)
    std = float((of_samples - mean).square().mean().sqrt())
    return RegionMean(mean, std, std / math.sqrt(2 * len(samples)))


def object_mask(image: Tensor) -> Tensor:
    """Where the object is: pixels above half of the image's maximum, (row, col) bool."""
    return image > 0.5 * image.max()
