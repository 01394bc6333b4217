"""The views that may be measured next."""

from __future__ import annotations

import dataclasses
import functools
import math

import torch
from torch import Tensor

from operators import Geometry, ParallelBeam, RayTransform
from operators.system_matrix import Kernel


def view_id(angle_rad: float) -> str:
    """Name of the view at an angle: its degrees modulo 360 to four decimals, so that no reordering changes it."""
    return f"view-{round(math.degrees(angle_rad) % 360, 4) % 360:08.4f}"


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """All views that may be measured next, each with a name of its own.

    Args:
        geometry: its angles are the candidates'; a detector binned by two makes planning several times faster.
        kernel: of the rays, see `RayTransform`.

    Raises:
        ValueError: two candidates closer than a ten-thousandth of a degree.
    """

    geometry: Geometry
    kernel: Kernel = "strip"

    def __post_init__(self) -> None:
        if len(self._indices) < self.geometry.n_angles:
            twice = next(name for index, name in enumerate(self.ids) if self._indices[name] != index)
            raise ValueError(f"candidates must be different angles, got {twice} more than once: drop the copies")

    def __len__(self) -> int:
        return self.geometry.n_angles

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the candidates, see `view_id`."""
        return tuple(view_id(angle) for angle in self.geometry.angles_rad)

    @property
    def angles_rad(self) -> tuple[float, ...]:
        """View angles, in the order of the candidates."""
        return self.geometry.angles_rad

    @property
    def n_detectors(self) -> int:
        """Rays of a view."""
        return self.geometry.n_detectors

    @property
    def period_rad(self) -> float:
        """After which views repeat, up to a mirrored detector: π for parallel rays, 2π for a fan."""
        return math.pi if isinstance(self.geometry, ParallelBeam) else 2 * math.pi

    @functools.cached_property
    def transform(self) -> RayTransform:
        """Image (row, col) -> the rays of all candidates (angle, detector)."""
        return RayTransform(self.geometry, kernel=self.kernel)

    def index_of(self, name: str) -> int | None:
        """Which candidate has this name; None where no one has."""
        return self._indices.get(name)

    def view_at(self, angle_rad: float) -> RayTransform:
        """The transform of one view of the same scan at any angle, a candidate's or not."""
        return RayTransform(dataclasses.replace(self.geometry, angles_rad=(angle_rad,)), kernel=self.kernel)

    @functools.cached_property
    def _indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids)}


def circular_distance(first: Tensor, second: Tensor, *, period: float) -> Tensor:
    """Shorter way round between angles modulo a period, broadcast; from 0 to period / 2."""
    apart = torch.remainder(first - second, period)
    return torch.minimum(apart, period - apart)
