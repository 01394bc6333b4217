"""Which rays to learn variances from, and what those have to explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.evidence import log_evidence
from dip.fit import Fit
from dip.holdout import Holdout
from dip.ray_covariance import RayCovariance
from dip.ray_model import RayModel


@dataclass(frozen=True)
class LearningTask:
    """The rays to learn from: some of the fitted, and those that choose for one member or another.

    Args:
        rays: (n,) into the model's.
        covariance: theirs.
        held: (members, n) bool, those that choose.
        held_residual: (members, n) float64, of networks that never fitted them.
        drive: (n,) float64, what the model has to explain.
        noise: mean square of the residuals.
    """

    rays: Tensor
    covariance: RayCovariance
    held: Tensor
    held_residual: Tensor
    drive: Tensor
    noise: float

    def evidence(self, variances: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """Log-evidence of these rays and its slopes, see `log_evidence`."""
        return log_evidence(self.covariance, variances, self.drive)

    def start(self) -> dict[str, float]:
        """Variances to begin with."""
        start = self.covariance.start(signal=100 * self.noise, noise=self.noise)
        if "smooth" in start:
            start["smooth"] = self.noise  # it is no part of the signal
        return start


def learning_task(model: RayModel, found: Fit, data: Tensor, holdout: Holdout, max_rays: int) -> LearningTask:
    """At most `max_rays` fitted rays, and all that choose, of those of a model linearised at the fit's network."""
    chooses = holdout.chooses.flatten(1)[:, model.rays]
    rays = torch.nonzero(conditioned_on(holdout, max_rays)[model.rays] | chooses.any(dim=0))[:, 0]
    covariance, held = model.covariance.select(rays), chooses[:, rays]
    held_residual = found.holdout_residual.flatten(1).double()[:, model.rays][:, rays]
    drive = model.drive((data - model.transform(found.image)).reshape(-1).double()[model.rays])[rays]
    relative = covariance.diagonals["noise"].expand_as(held_residual)
    noise = _weighted_mean_square(held_residual[held], relative[held]) or 1.0
    return LearningTask(rays, covariance, held, held_residual, drive, noise)


def conditioned_on(holdout: Holdout, max_rays: int) -> Tensor:
    """Rays of evenly spread views that every member fitted, at most `max_rays` but a view; (rays,) bool.

    Of volumes, whose views may hold more rays than that, detector rows are spread over all views. That is enough for a
    few variances.
    """
    fitted = holdout.fitted.all(dim=0)
    if fitted.ndim > 2:
        return evenly_spread(fitted, max_rays)
    views = torch.nonzero(fitted.any(dim=1))[:, 0]
    n_kept = max(1, min(len(views), max_rays // fitted.shape[1]))
    kept = torch.zeros_like(fitted)
    kept[views[torch.linspace(0, len(views) - 1, n_kept).round().long()]] = True
    return (kept & fitted).reshape(-1)


def learned_from(holdout: Holdout, max_rays: int) -> Tensor:
    """Rays that are enough to learn from, where all are too many: `conditioned_on`, and half as many that choose.

    Returns:
        (n,) into all.
    """
    choose = evenly_spread(holdout.chooses.any(dim=0), max(1, max_rays // 2))
    return torch.nonzero(conditioned_on(holdout, max_rays) | choose)[:, 0]


def evenly_spread(rays: Tensor, n: int) -> Tensor:
    """About n of these, (..., detector) bool, in whole detector rows, or one row -> (rays,) bool.

    Rows are kept whole, for errors that are smooth along them show in neighbours only.
    """
    rows = rays.reshape(-1, rays.shape[-1])
    every = torch.nonzero(rows.any(dim=1))[:, 0]
    n_kept = min(len(every), max(1, round(len(every) * n / max(1, int(rays.sum())))))
    kept = torch.zeros_like(rows)
    kept[every[torch.linspace(0, len(every) - 1, n_kept, dtype=torch.float64).round().long()]] = True
    return (kept & rows).reshape(-1)


def _weighted_mean_square(residual: Tensor, relative_variance: Tensor) -> float:
    """Rays that are hardly known, or masked by a large variance, hardly count."""
    return float((residual.square() / relative_variance).sum() / (1 / relative_variance).sum())
