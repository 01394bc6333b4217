"""Which rays are kept from the fit: some to choose by, others to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FEWEST_VIEWS = 24  # below this, a whole view is too much of the scan to leave out


@dataclass(frozen=True)
class Holdout:
    """Which rays are left out of a fit, and what for. No ray serves two of these.

    Args:
        chooses: (members, angle, detector) bool. Each member of the ensemble is not trained on its own set; the sets
            choose the steps, the TV weight and the variances behind the error bars, and are then fitted too.
        judges: (angle, detector) bool. These choose nothing; the calibration that is reported is theirs. The final
            image alone is fitted to them.
    """

    chooses: Tensor
    judges: Tensor

    @property
    def fitted(self) -> Tensor:
        """(members, angle, detector) bool: what each member is trained on."""
        return ~(self.chooses | self.judges)

    @property
    def whole_views(self) -> bool:
        """Whether views are held out as a whole, so that errors which all rays of a view share can be seen."""
        return not (self.judges.any(dim=1) & ~self.judges.all(dim=1)).any()

    @property
    def judging_views(self) -> Tensor:
        """Indices of the views with rays that judge."""
        return torch.nonzero(self.judges.any(dim=1))[:, 0]


def hold_out(
    sinogram_shape: tuple[int, int], fraction: float, *, n_members: int = 1, generator: torch.Generator
) -> Holdout:
    """Set aside a fraction of the rays to choose by, for each member, and as many to judge by.

    From 24 views on these are whole views, evenly spread and interleaved, because neighbouring rays of one view share
    their model error. With fewer views they are random rays.

    Args:
        sinogram_shape: (angle, detector).
        fraction: of all rays, for each of the sets; more than 0, and at most half of the rays in all.
        n_members: sets that choose.
        generator: draws where the pattern starts, or the rays.

    Raises:
        ValueError: a fraction out of range, or too few rays to divide.
    """
    n_sets = n_members + 1
    if not 0 < n_sets * fraction <= 0.5:
        raise ValueError(
            f"expected sets that hold out at most half of the rays in all, got {n_sets} with a fraction of {fraction} "
            f"each: hold out at most {0.5 / n_sets:.3g}"
        )
    n_views, n_detectors = sinogram_shape
    sets = torch.zeros(n_sets, n_views, n_detectors, dtype=torch.bool)
    if n_views >= _FEWEST_VIEWS:
        n_held = min(max(2, round(fraction * n_views)), n_views // (2 * n_sets))
        if n_held < 2:
            raise ValueError(
                f"expected at least 2 views to hold out for each of {n_sets} sets, and at most half of all, got "
                f"{n_views} views: have fewer members"
            )
        n_places = n_sets * n_held
        places = (torch.arange(n_places) + torch.rand((), generator=generator)) * n_views / n_places
        views = places.long().clamp(max=n_views - 1)  # the last may be rounded up, out of the scan
        for number in range(n_sets):
            sets[number, views[number::n_sets]] = True
    else:
        n_rays = n_views * n_detectors
        n_held = round(fraction * n_rays)
        if n_held < 2:
            raise ValueError(
                f"a fraction {fraction} of {n_rays} rays is fewer than 2: hold out more, or give more rays"
            )
        order = torch.randperm(n_rays, generator=generator)
        sets.view(n_sets, -1).scatter_(1, order[: n_sets * n_held].reshape(n_sets, n_held), value=True)
    # The judges come second, where they were with one member.
    return Holdout(torch.cat([sets[:1], sets[2:]]), sets[1])
