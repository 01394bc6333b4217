"""What the fit minimises: a misfit to the rays that knows their errors, and total variation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GAUSSIAN_MEDIAN = 0.6745  # of |x|, x ~ N(0, 1)


class RampMisfit:
    """Σ r (g ∗ r) over the detector, g the filter (|ω| + floor)/(1 + floor), |ω| from 0 to 1 at Nyquist.

    Errors of the pixel grid itself are white in the image, so in a view they have the covariance A Aᵀ ~ 1/|ω|. The ramp
    whitens them: it is the likelihood of a scan whose model error outweighs its noise, and it makes AᵀGA nearly the
    identity, so that fine detail is fitted in fewer steps. The floor is the noise's share; with an infinite floor the
    misfit is plain least squares, the likelihood of white noise.

    Args:
        sinogram_shape: (angle, detector), or (angle, row, detector).
        floor: 0 or more.
    """

    def __init__(self, sinogram_shape: Sequence[int], floor: float) -> None:
        self._axes, n_detectors = tuple(range(-len(sinogram_shape), 0)), sinogram_shape[-1]
        self._length = 2 * n_detectors  # zero padding: the filter must not wrap around
        ramp = torch.linspace(0, 1, n_detectors + 1)
        self._gain = torch.ones_like(ramp) if math.isinf(floor) else (ramp + floor) / (1 + floor)

    def __call__(self, residual: Tensor) -> Tensor:
        """(*batch, *sinogram_shape) -> (*batch)."""
        gain = self._gain.to(residual)
        spectrum = torch.fft.rfft(residual, n=self._length)
        power = spectrum.real.square() + spectrum.imag.square()
        twice = torch.full_like(gain, 2.0)
        twice[0] = twice[-1] = 1.0  # frequencies 0 and Nyquist appear once in the full spectrum (Parseval)
        energy: Tensor = (power * (gain * twice)).sum(dim=self._axes) / self._length
        return energy

    @property
    def mean_gain(self) -> float:
        """The misfit that white noise of variance 1 is expected to have, for each ray."""
        # Frequencies 0 and Nyquist appear once in the full spectrum, all others twice.
        return float(2 * self._gain.sum() - self._gain[0] - self._gain[-1]) / self._length


def noise_level(data: Tensor, precision: Tensor) -> float:
    """Standard deviation of the noise of a ray of precision 1, from neighbouring detector pixels.

    The median of absolute second differences, which neither the object's slopes nor its few edges move much (median
    absolute deviation of a Gaussian: 0.6745 deviations). What errors of the pixel grid share along a view is not in it.

    Args:
        data: (angle, detector), or (angle, row, detector).
        precision: relative inverse variance of each ray, likewise; rays of precision 0 are not looked at.

    Returns:
        0 where no three neighbours have a precision.
    """
    variance = precision.reciprocal()
    second = data[..., 2:] - 2 * data[..., 1:-1] + data[..., :-2]
    spread = variance[..., 2:] + 4 * variance[..., 1:-1] + variance[..., :-2]
    known = spread.isfinite()
    if not known.any():
        return 0.0
    return float((second[known] / spread[known].sqrt()).abs().median() / _GAUSSIAN_MEDIAN)


def total_variation(image: Tensor, *, axes: int = 2) -> Tensor:
    """Sum of absolute differences between neighbours (anisotropic total variation), (*batch, row, col) -> (*batch).

    Args:
        image: with `axes` axes of its own, the last ones: 3 for volumes (slice, row, col).
        axes: how many.
    """
    own = range(-axes, 0)
    across, *others = (image.diff(dim=axis).abs().sum(dim=tuple(own)) for axis in reversed(own))
    for along in others:
        across = across + along
    return across
