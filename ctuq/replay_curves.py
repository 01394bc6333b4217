"""What a replay was asked, and what it found: curves of reconstructions against the number of views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from ctuq.errors import InputError
from ctuq.reconstruction import Provenance

STRATEGIES: Final = ("equidistant", "golden", "random")
"""What planning can be compared with."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """How a scan is acquired again.

    Args:
        start: equidistant views that planning starts from.
        n_angles: views that are added.
        every: views between two reconstructions, after each of which the plan is made anew.
        against: of `STRATEGIES`.
        random_seeds: orders at random.
        criterion: a key of `ctuq.criteria.CRITERIA`.

    Raises:
        InputError: numbers out of range, or an unknown strategy.
    """

    start: int = 5
    n_angles: int = 20
    every: int = 5
    against: tuple[str, ...] = STRATEGIES
    random_seeds: int = 3
    criterion: str = "eig"

    def __post_init__(self) -> None:
        if min(self.start, self.n_angles, self.every, self.random_seeds) < 1:
            raise InputError(f"expected numbers of views and seeds of at least 1, got {asdict(self)}")
        unknown = set(self.against) - set(STRATEGIES)
        if unknown:
            raise InputError(f"expected --against some of {','.join(STRATEGIES)}, got {', '.join(sorted(unknown))}")

    @property
    def points(self) -> tuple[int, ...]:
        """Numbers of views at which there is a reconstruction."""
        total = self.start + self.n_angles
        return (*range(self.start, total, self.every), total)


@dataclass(frozen=True)
class Point:
    """One reconstruction.

    Args:
        n_angles: views behind it.
        psnr: against the reference, dB; its range is the reference's.
        ssim: against the reference.
        chi_square: per test ray.
        mean_std: of the deviation map, 1/mm.
        rms_std: root mean square of it, 1/mm.
        promised_std: what the plan had promised for `rms_std`; None for other strategies, and where none was made.
    """

    n_angles: int
    psnr: float
    ssim: float
    chi_square: float
    mean_std: float
    rms_std: float
    promised_std: float | None = None


@dataclass(frozen=True)
class Curve:
    """One strategy.

    Args:
        views: indices, in the order they were measured.
        points: by number of views.
    """

    views: tuple[int, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, eq=False)
class Replay:
    """All of them.

    Args:
        provenance: of the scan and of this run, which may have found points that an earlier one finished.
        angles_rad: of all views of the scan.
        curves: by strategy, "planned" first; random orders are "random-1", "random-2" and so on.
        settings: how it was done.
    """

    provenance: Provenance
    angles_rad: tuple[float, ...]
    curves: Mapping[str, Curve]
    settings: ReplaySettings

    @property
    def scan_name(self) -> str:
        """Name of the scan that was replayed."""
        return self.provenance.scan_name
