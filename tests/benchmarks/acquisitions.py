"""A scan with all views is measured again, a few views at a time, and every image is held against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import ctuq
from ctuq.config import Config
from ctuq.criteria import CRITERIA
from ctuq.likeness import psnr
from ctuq.problem import fitted_image
from design import Candidates, CandidateViews, GreedySelection
from tests.benchmarks.gaussian_design import gaussian_design

N_DRAWS = 1000


class PlannedPoint(NamedTuple):
    """An image on the way, and what was planned from it."""

    psnr_db: float
    rms_std: float  # root mean square of the deviations, 1/mm
    promised_std: float  # of the same once the next views are measured
    views: list[int]  # the next ones


@dataclass(frozen=True, eq=False)
class Acquisition:
    """What is known only afterwards, and how it is gone about.

    Args:
        scan: all views, which are the candidates, as measured.
        config: of every reconstruction.
        truth: (row, col) in 1/mm on the configured grid.
        criterion: a key of `ctuq.criteria.CRITERIA`.
        inside: (row, col) bool, the pixels that are compared; all if left out.
        seed: of networks, held-out rays and draws.
    """

    scan: ctuq.Scan
    config: Config
    truth: Tensor
    criterion: str
    inside: Tensor | None = None
    seed: int = 0

    def psnr(self, views: Sequence[int]) -> float:
        """Of the image from these views, dB."""
        return self._psnr(fitted_image(self._measured(views), self.config, seed=self.seed))

    def planned(self, views: Sequence[int], n_more: int) -> PlannedPoint:
        """The same with error bars, and the next views as ctuq plans them."""
        found = ctuq.reconstruct(self._measured(views), self.config, seed=self.seed)
        angles = self.scan.geometry.angles_rad
        plan = ctuq.plan(found, candidates=angles, n_angles=n_more, criterion=self.criterion, seed=self.seed)
        where = {angle: view for view, angle in enumerate(angles)}
        rms_std = float(found.std.double().square().mean().sqrt())
        following = [where[angle] for angle in plan.angles_rad.tolist()]
        # Draws and map estimate the same deviation; its promised fall is carried over to the map's.
        return PlannedPoint(self._psnr(found.image), rms_std, rms_std * float(1 - plan.promised_fall[-1]), following)

    def by_field(self, views: Sequence[int], n_more: int, lengths: tuple[float, ...]) -> list[int]:
        """The next views by the same rule under a Gaussian field."""
        generator = torch.Generator().manual_seed(self.seed)
        found = gaussian_design(self._measured(views), lengths, n_draws=N_DRAWS, generator=generator)
        geometry = self.scan.planar
        believed = CandidateViews(
            found.belief.covariance, Candidates(geometry.with_grid(found.grid)), found.belief.noise
        )
        taken = [geometry.angles_rad[view] for view in views]
        selection = GreedySelection(criterion=CRITERIA[self.criterion].criterion)
        return list(selection(believed, n_more, taken_rad=taken, excluded=views).indices)

    def _measured(self, views: Sequence[int]) -> ctuq.Scan:
        return self.scan.select(sorted(views))

    def _psnr(self, image: Tensor) -> float:
        inside = torch.ones_like(self.truth, dtype=torch.bool) if self.inside is None else self.inside
        return psnr(image[inside], self.truth[inside])
