"""Which rays are kept from the fit: some to choose by, others to judge by."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

FEWEST_WHOLE_VIEWS = 24
"""Views below which single rays are held out: a whole view is too much of the scan to leave out then."""


@dataclass(frozen=True)
class Holdout:
    """Which rays are left out of a fit, and what for. No ray serves two of these.

    Args:
        chooses: (members, angle, detector) bool. Each member of the ensemble is not trained on its own set; the sets
            choose the steps, the TV weight and the variances behind the error bars, and are then fitted too.
        judges: (angle, detector) bool. These choose nothing; the calibration that is reported is theirs. The final
            image alone is fitted to them.
        masked: (angle, detector) bool. These say nothing: they are not fitted, and neither choose nor judge.

    Raises:
        ValueError: a ray that is masked, and yet chooses or judges.
    """

    chooses: Tensor
    judges: Tensor
    masked: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.bool))

    def __post_init__(self) -> None:
        used = self.chooses.any(dim=0) | self.judges
        if (used & self.masked).any():
            raise ValueError("expected rays that choose or judge to be measured, got some that are masked")

    @property
    def fitted(self) -> Tensor:
        """(members, angle, detector) bool: what each member is trained on."""
        return ~(self.chooses | self.judges | self.masked)

    @property
    def whole_views(self) -> bool:
        """Whether views are held out as a whole, so that errors which all rays of a view share can be seen."""
        judging = self.judges.flatten(1).any(dim=1)
        return not (judging & ~(self.judges | self.masked).flatten(1).all(dim=1)).any()

    @property
    def judging_views(self) -> Tensor:
        """Indices of the views with rays that judge."""
        return torch.nonzero(self.judges.flatten(1).any(dim=1))[:, 0]

    def with_masked(self, masked: Tensor) -> Holdout:
        """The same views, or rays, held out of another scan with the same views, where other rays may be masked.

        Views that are held out as a whole are so there too, with rays that are masked here alone.

        Args:
            masked: (angle, detector) bool, of the other scan.

        Raises:
            ValueError: rays of another shape, or fewer than 2 views, or rays, left in one of the sets.
        """
        if masked.shape != self.judges.shape:
            raise ValueError(
                f"expected a scan whose rays are as many as those that are held out, {tuple(self.judges.shape)}, got "
                f"{tuple(masked.shape)}"
            )
        sets = torch.cat([self.chooses, self.judges[None]])
        if self.whole_views:
            views = sets.flatten(2).any(dim=2)
            sets = views.reshape(*views.shape, *[1] * (masked.ndim - 1)).expand_as(sets)
        left = sets & ~masked
        n_left = int((left.flatten(2).any(dim=2) if self.whole_views else left.flatten(1)).sum(dim=1).min())
        if n_left < 2:
            raise ValueError(
                "expected at least 2 of the held-out views, or rays, that are not masked, in each of "
                f"{len(sets)} sets, got {n_left}"
            )
        return Holdout(left[:-1], left[-1], masked)


def hold_out(
    sinogram_shape: tuple[int, ...],
    fraction: float,
    *,
    n_members: int = 1,
    masked: Tensor | None = None,
    generator: torch.Generator,
) -> Holdout:
    """Set aside a fraction of the rays to choose by, for each member, and as many to judge by.

    From 24 views on these are whole views, evenly spread and interleaved, because neighbouring rays of one view share
    their model error. With fewer views they are random rays.

    Args:
        sinogram_shape: (angle, detector), or (angle, row, detector).
        fraction: of all rays, for each of the sets; more than 0, and at most half of the rays in all.
        n_members: sets that choose.
        masked: (angle, detector) bool, rays without information, which no set takes; none if left out.
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
    masked = torch.zeros(sinogram_shape, dtype=torch.bool) if masked is None else masked.cpu()
    views = torch.nonzero(~masked.flatten(1).all(dim=1))[:, 0]
    whole = len(views) >= FEWEST_WHOLE_VIEWS
    sets = (
        _whole_views(masked, views, fraction, n_sets, generator)
        if whole
        else _rays(masked, fraction, n_sets, generator)
    )
    # The judges come second, where they were with one member.
    return Holdout(torch.cat([sets[:1], sets[2:]]), sets[1], masked)


def _whole_views(masked: Tensor, views: Tensor, fraction: float, n_sets: int, generator: torch.Generator) -> Tensor:
    """(sets, angle, detector): some of `views`, those with a ray that is not masked."""
    n_views = len(views)
    n_held = min(max(2, round(fraction * n_views)), n_views // (2 * n_sets))
    if n_held < 2:
        raise ValueError(
            f"expected at least 2 views to hold out for each of {n_sets} sets, and at most half of all, got "
            f"{n_views} views: have fewer members"
        )
    n_places = n_sets * n_held
    places = (torch.arange(n_places) + torch.rand((), generator=generator)) * n_views / n_places
    taken = views[places.long().clamp(max=n_views - 1)]  # the last may be rounded up, out of the scan
    sets = torch.zeros(n_sets, *masked.shape, dtype=torch.bool)
    for number in range(n_sets):
        sets[number, taken[number::n_sets]] = True
    return sets & ~masked


def _rays(masked: Tensor, fraction: float, n_sets: int, generator: torch.Generator) -> Tensor:
    """(sets, angle, detector): some of all rays that are not masked."""
    rays = torch.nonzero(~masked.reshape(-1))[:, 0]
    n_held = round(fraction * len(rays))
    if n_held < 2:
        raise ValueError(f"a fraction {fraction} of {len(rays)} rays is fewer than 2: hold out more, or give more rays")
    taken = rays[torch.randperm(len(rays), generator=generator)[: n_sets * n_held]]
    sets = torch.zeros(n_sets, masked.numel(), dtype=torch.bool)
    sets.scatter_(1, taken.reshape(n_sets, n_held), value=True)
    return sets.reshape(n_sets, *masked.shape)
