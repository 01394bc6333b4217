"""How large a problem a machine solves in about ten minutes, by the estimate that `ctuq check` gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ctuq.config import Config, load_config
from ctuq.cost import Cost, Speeds

MINUTES = 10

_SIDES = (64, 128, 256, 512, 1024)
_FEWEST_VIEWS = 10  # of as many detector pixels as the image has pixels a side
_MOST_VIEWS = 1000

Limit: TypeAlias = Literal["time", "memory", "views"]
"""What allows no more rays: minutes, memory, or that more views were not tried."""

_WORDS: Final[dict[Limit, str]] = {
    "time": "",
    "memory": ": all that fits into memory",
    "views": f": no more than {_MOST_VIEWS:,} views were tried",
}


@dataclass(frozen=True)
class Reach:
    """The most rays that an image of one size allows.

    Args:
        size: pixels a side.
        rays: views times detector pixels.
        limit: what allows no more.
    """

    size: int
    rays: int
    limit: Limit

    @property
    def words(self) -> str:
        """In a few words."""
        return f"up to {self.rays:,} rays, as {self.rays // self.size} views of {self.size}{_WORDS[self.limit]}"


def reach(speeds: Speeds, memory_bytes: float, config: Config | None = None) -> list[Reach]:
    """For images of 64 to 1024 pixels a side, the most rays that take ten minutes; without those that allow hardly any.

    Args:
        speeds: of the machine.
        memory_bytes: that are free.
        config: settings; the defaults if left out.
    """
    settings = load_config(None) if config is None else config
    found = []
    for size in _SIDES:
        views, limit = _most_views(settings, size, speeds, memory_bytes)
        if views >= _FEWEST_VIEWS:
            found.append(Reach(size, views * size, limit))
    return found


def _most_views(config: Config, size: int, speeds: Speeds, memory_bytes: float) -> tuple[int, Limit]:
    """By bisection, and what one more would be too much for."""

    def cost(views: int) -> Cost:
        return Cost(config, views * size, (size, size), noise_stated=False, speeds=speeds)

    def fits(views: int) -> bool:
        tried = cost(views)
        return tried.memory_bytes <= memory_bytes and tried.seconds <= 60 * MINUTES

    # Beyond the rays whose covariance is held time and memory are less, and then grow again.
    held = min(_MOST_VIEWS, config.posterior.cholesky_rays // size)
    low, high = (held + 1, _MOST_VIEWS + 1) if held < _MOST_VIEWS and fits(held + 1) else (0, held + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low == _MOST_VIEWS:
        return low, "views"
    return low, "time" if cost(high).seconds > 60 * MINUTES else "memory"
