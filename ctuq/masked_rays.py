"""Rays without a value: what their variance is, and what is put in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKED_FROM = 1e6
"""Times the harmonic mean of a scan's variances, from which on a ray counts as masked: what so noisy a ray could tell
is no loss, and it must neither judge nor choose nor stand in a filtered back-projection."""

MASKED_VARIANCE = 1e9
"""What masked rays are given, times the harmonic mean of the others' variances. That of all rays is larger, the more
the more of them are masked; where less than a thousandth is left, masked rays would pass for noisy ones."""


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
    """`interpolated_rows` of a tensor (angle, detector) or (angle, row, detector), along the detector's rows.

    A detector row of which a view knows nothing is interpolated from the rows beside it.
    """
    filled = _along_last_axis(sinogram, known)
    row_known = known.any(dim=-1, keepdim=True).expand_as(known)
    if sinogram.ndim == 3 and not row_known.all():
        views = ~row_known.flatten(1).all(dim=1)
        filled[views] = _along_last_axis(filled[views].mT, row_known[views].mT).mT
    return filled


def _along_last_axis(values: Tensor, known: Tensor) -> Tensor:
    lines = interpolated_rows(values.flatten(0, -2).cpu().numpy(), known.flatten(0, -2).cpu().numpy())
    return torch.as_tensor(lines).to(values).reshape(values.shape)
