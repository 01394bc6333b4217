"""The network's fixed input: a smooth filtered back-projection of the rays that it may see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from operators import Geometry, filtered_back_projection


def network_input(geometry: Geometry, sinogram: Tensor, seen: Tensor) -> Tensor:
    """Filtered back-projection, Hann window, of the seen rays only: (row, col) in 1/mm.

    Views without a seen ray are left out; rays missing from a view are interpolated from their neighbours.

    Args:
        geometry: of all rays.
        sinogram: (angle, detector).
        seen: (angle, detector) bool.
    """
    views = torch.nonzero(seen.any(dim=1))[:, 0]
    rows = sinogram[views].cpu().numpy().copy()
    detectors = np.arange(rows.shape[1])
    for row, mask in zip(rows, seen[views].cpu().numpy(), strict=True):
        if not mask.all():
            row[~mask] = np.interp(detectors[~mask], detectors[mask], row[mask])
    filled = torch.as_tensor(rows).to(sinogram)
    return filtered_back_projection(geometry.select(views), filled, window="hann")
