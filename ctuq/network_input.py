"""The network's fixed input: a smooth filtered back-projection of the rays that it may see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctuq.masked_rays import interpolated
from ctuq.scan import ScanGeometry
from operators import filtered_back_projection


def network_input(geometry: ScanGeometry, sinogram: Tensor, seen: Tensor) -> Tensor:
    """Filtered back-projection, Hann window, of the seen rays only: (row, col), or (slice, row, col), in 1/mm.

    Views without a seen ray are left out; rays missing from a view are interpolated from their neighbours.

    Args:
        geometry: of all rays.
        sinogram: (angle, detector), or (angle, row, detector).
        seen: bool, likewise.
    """
    views = torch.nonzero(seen.flatten(1).any(dim=1))[:, 0]
    filled = interpolated(sinogram[views], seen[views])
    return filtered_back_projection(geometry.select(views), filled, window="hann")


def scale_of(image: Tensor) -> float:
    """What an image is divided by to have no unit: a high quantile of its values, or 1 where they are zero."""
    return float(np.quantile(image.abs().cpu().numpy(), 0.99)) or 1.0
