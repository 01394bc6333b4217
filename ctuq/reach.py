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

Limit: TypeAlias = Literal["time", "memory", "covariance"]
"""What allows no more rays: minutes, memory, or that beyond them their covariance is not held and time is not known."""

_WORDS: Final[dict[Limit, str]] = {
    "time": "",
    "memory": ": all that fits into memory",
    "covariance": ": all whose covariance is held (posterior.cholesky_rays)",
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

    most = min(_MOST_VIEWS, config.posterior.cholesky_rays // size)
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        tried = cost(middle)
        fits = tried.memory_bytes <= memory_bytes and tried.seconds <= 60 * MINUTES
        low, high = (middle, high) if fits else (low, middle)
    if low == most:
        return low, "covariance"
    return low, "time" if cost(high).seconds > 60 * MINUTES else "memory"
