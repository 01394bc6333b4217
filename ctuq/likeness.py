"""How like two images are, where one is taken for the truth."""

from __future__ import annotations

import math

from torch import Tensor


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the truth's range. Infinite where nothing differs."""
    error = float((image.double() - truth.double()).square().mean())
    return 10 * math.log10(_range(truth) ** 2 / error) if error else math.inf


def ssim(image: Tensor, truth: Tensor) -> float:
    """Mean structural similarity in windows of 7 pixels, of the truth's range (doi:10.1109/TIP.2003.819861)."""
    from skimage.metrics import structural_similarity  # noqa: PLC0415  it takes a second, which other commands need not

    first, second = truth.double().numpy(), image.double().numpy()
    return float(structural_similarity(first, second, data_range=_range(truth)))  # type: ignore[no-untyped-call]


def _range(truth: Tensor) -> float:
    return float(truth.max() - truth.min()) or 1.0
