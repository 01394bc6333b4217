"""How a planner of angles deals with its instrument."""

from __future__ import annotations

from dataclasses import dataclass, field

from design.planner_points import PointFormat


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """What a planner is told once, when it is made.

    Args:
        refit_every: new views after which the posterior is made anew (arXiv 2207.05714: 5); in between it is
            conditioned on them, which needs no data. Sooner where they leave too few draws to choose by.
        retries: how often a view that failed is suggested again.
        endless: whether the motor turns through 2π and on.
        projection_width: detector pixels of what is told; the candidates' if left out.
        points: what it reads and writes.

    Raises:
        ValueError: numbers out of range.
    """

    refit_every: int = 5
    retries: int = 1
    endless: bool = True
    projection_width: int | None = None
    points: PointFormat = field(default_factory=PointFormat)

    def __post_init__(self) -> None:
        if self.refit_every < 1 or self.retries < 0:
            raise ValueError(
                f"refit_every must be at least 1 and retries 0 or more, got {self.refit_every} and {self.retries}"
            )
