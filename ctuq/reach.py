"""How large a problem a machine solves in about ten minutes, by the estimate that `ctuq check` gives."""

from __future__ import annotations

from dataclasses import dataclass

from ctuq.config import Config, load_config
from ctuq.cost import Cost, Speeds

MINUTES = 10

_SIDES = (64, 128, 256, 512, 1024)
_FEWEST_VIEWS = 10  # of as many detector pixels as the image has pixels a side
_MOST_VIEWS = 1000


@dataclass(frozen=True)
class Reach:
    """The most rays that an image of one size allows.

    Args:
        size: pixels a side.
        rays: views times detector pixels.
        by_memory: whether memory, not time, allows no more.
    """

    size: int
    rays: int
    by_memory: bool

    @property
    def words(self) -> str:
        """In a few words."""
        what = f"up to {self.rays:,} rays, as {self.rays // self.size} views of {self.size}"
        return f"{what}: all that fits into memory" if self.by_memory else what


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
        views, by_memory = _most_views(settings, size, speeds, memory_bytes)
        if views >= _FEWEST_VIEWS:
            found.append(Reach(size, views * size, by_memory))
    return found


def _most_views(config: Config, size: int, speeds: Speeds, memory_bytes: float) -> tuple[int, bool]:
    """By bisection, and whether one more would be too much for the memory alone."""

    def cost(views: int) -> Cost:
        return Cost(config, views * size, size, noise_stated=False, speeds=speeds)

    low, high = 0, _MOST_VIEWS
    while high - low > 1:
        middle = (low + high) // 2
        tried = cost(middle)
        fits = tried.memory_bytes <= memory_bytes and tried.seconds <= 60 * MINUTES
        low, high = (middle, high) if fits else (low, middle)
    return low, cost(high).seconds <= 60 * MINUTES
