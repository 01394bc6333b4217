"""Rays without a value, filled from their neighbours in the same view."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def interpolated_rows(rows: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Rows with every value that is not known interpolated from the nearest known ones.

    Beyond the last known value it goes on; a row without any becomes zero.

    Args:
        rows: (angle, detector); only known values are looked at.
        known: (angle, detector) bool.
    """
    filled = rows.copy()
    places = np.arange(rows.shape[1])
    for row, mask in zip(filled, known, strict=True):
        if not mask.any():
            row[:] = 0
        elif not mask.all():
            row[~mask] = np.interp(places[~mask], places[mask], row[mask])
    return filled


def interpolated(sinogram: Tensor, known: Tensor) -> Tensor:
    """`interpolated_rows` of a tensor (angle, detector)."""
    return torch.as_tensor(interpolated_rows(sinogram.cpu().numpy(), known.cpu().numpy())).to(sinogram)
