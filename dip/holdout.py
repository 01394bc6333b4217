"""Which rays are kept from the fit: some to choose by, others to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FEWEST_VIEWS = 24  # below this, a whole view is too much of the scan to leave out


@dataclass(frozen=True)
class Holdout:
    """A division of the rays into three disjoint sets, each (angle, detector) bool.

    Args:
        fitted: the network is trained on these.
        chooses: these choose the step, the TV weight and the variances behind the error bars, and are then fitted too.
        judges: these choose nothing; the calibration that is reported is theirs. The final image alone is fitted to
            them.
    """

    fitted: Tensor
    chooses: Tensor
    judges: Tensor

    @property
    def whole_views(self) -> bool:
        """Whether views are held out as a whole, so that errors which all rays of a view share can be seen."""
        return not (self.judges.any(dim=1) & ~self.judges.all(dim=1)).any()

    @property
    def judging_views(self) -> Tensor:
        """Indices of the views with rays that judge."""
        return torch.nonzero(self.judges.any(dim=1))[:, 0]


def hold_out(sinogram_shape: tuple[int, int], fraction: float, *, generator: torch.Generator) -> Holdout:
    """Set aside a fraction of the rays to choose by and as many to judge by.

    From 24 views on these are whole views, evenly spread and interleaved, because neighbouring rays of one view share
    their model error. With fewer views they are random rays.

    Args:
        sinogram_shape: (angle, detector).
        fraction: of all rays, for each of the two sets; 0 < fraction <= 0.25.
        generator: draws where the pattern starts, or the rays.

    Raises:
        ValueError: a fraction out of range, or too few rays to divide.
    """
    if not 0 < fraction <= 0.25:
        raise ValueError(f"holdout fraction must be more than 0 and at most 0.25, got {fraction}")
    n_views, n_detectors = sinogram_shape
    chooses, judges = torch.zeros(2, n_views, n_detectors, dtype=torch.bool)
    if n_views >= _FEWEST_VIEWS:
        n_held = max(2, round(fraction * n_views))
        places = (torch.arange(2 * n_held) + torch.rand((), generator=generator)) * n_views / (2 * n_held)
        views = places.long().clamp(max=n_views - 1)  # the last may be rounded up, out of the scan
        chooses[views[::2]] = True
        judges[views[1::2]] = True
    else:
        n_rays = n_views * n_detectors
        n_held = round(fraction * n_rays)
        if n_held < 2:
            raise ValueError(
                f"a fraction {fraction} of {n_rays} rays is fewer than 2: hold out more, or give more rays"
            )
        order = torch.randperm(n_rays, generator=generator)
        chooses.view(-1)[order[:n_held]] = True
        judges.view(-1)[order[n_held : 2 * n_held]] = True
    return Holdout(~(chooses | judges), chooses, judges)
