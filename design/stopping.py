"""When a scan is good enough, without a look at the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """Whatever comes first; a limit left out never comes.

    Args:
        max_views: of the whole scan, those measured before planning included.
        target_std: root mean square of the deviations of the region's pixels, in the image's unit, 1/mm.
        min_score: of the best candidate, in the criterion's unit, after division by its cost.

    Raises:
        ValueError: a limit that is not positive and finite.
    """

    max_views: int | None = None
    target_std: float | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_views", "target_std", "min_score"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise ValueError(f"{name} must be positive and finite, or None for no limit, got {limit}")

    def reached(self, *, n_views: int, region_std: float) -> str | None:
        """Why to stop with this many views and such a deviation, or None."""
        if self.max_views is not None and n_views >= self.max_views:
            return f"{n_views} views are the {self.max_views} allowed"
        if self.target_std is not None and region_std <= self.target_std:
            return f"the deviation in the region, {region_std:.4g}, is at its target of {self.target_std:.4g}"
        return None

    def too_little(self, best_score: float) -> str | None:
        """Why not to measure a view that promises this much, or None."""
        if self.min_score is not None and best_score < self.min_score:
            return f"the best view left promises {best_score:.4g}, below {self.min_score:.4g}"
        return None
