"""The deep image prior's fit: train the network on one scan, and let held-out rays say how and how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.ensemble import Ensemble
from dip.fit_run import FitProblem, FitRun, Tell
from dip.fit_settings import FitSettings
from dip.holdout import Holdout
from dip.unet import UNet
from operators import LinearMap

OnStep = Callable[[int, int, Mapping[str, float]], None]

_LAG = 1.2  # of a mean square, a tenth of its root: attempts that are as far behind half way do not catch up
_LAG_FROM = 0.5

REFITS = 3
"""Fits from the chosen weights: without the rays that choose, with all, and without those that judge."""


@dataclass(frozen=True)
class Fit:
    """Trained networks and how they came to be.

    Args:
        networks: one a member, trained on all rays but those that judge: what they say of them can be checked.
        image: (row, col), the mean of the networks' images, dimensionless, float32.
        full_image: (row, col), the same after as many steps from the same weights on all rays: nothing is left out of
            it, and nothing measured is left to check it.
        tv_weight: chosen on held-out rays.
        misfit_floor: chosen likewise.
        chosen_steps: of each member, chosen likewise.
        holdout_residual: (members, angle, detector), data minus projection by a network that never fitted the rays that
            chose it, at those rays; 0 elsewhere.
        steps: (n,) at which the chosen run was looked at.
        loss: (n,) root mean square residual of the fitted rays weighed by their precision, in units of the data.
        holdout_loss: (n,) the same of the rays that choose.
        refit_misfit: root mean square residual of the full image's networks at the fitted rays, relative to what it was
            before the refit. A refit that did not settle leaves more; rays that test need not show it, as they judge
            another one.
        chosen_weights: of each member by name, before any refit: trained on the fitted rays alone, so that fits of
            other scans with the same hold-out may start from them. The rays that choose said at which of the steps
            looked at, and in which run. Empty where nobody may.
    """

    networks: tuple[UNet, ...]
    image: Tensor
    full_image: Tensor
    tv_weight: float
    misfit_floor: float
    chosen_steps: tuple[int, ...]
    holdout_residual: Tensor
    steps: Tensor
    loss: Tensor
    holdout_loss: Tensor
    refit_misfit: float = 1.0
    chosen_weights: tuple[Mapping[str, Tensor], ...] = ()


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 have hardware of their own there."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def fit(
    members: Sequence[UNet],
    inputs: Tensor,
    transform: LinearMap,
    data: Tensor,
    *,
    holdout: Holdout,
    settings: FitSettings,
    precision: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Fit:
    """Train on the fitted rays once for every setting tried, keep what predicts the choosing rays best, and refit.

    Volumes are fitted likewise, with one more axis in images, inputs (before the rows) and rays (before the detector).

    A setting that lags far behind half way is not tried any further.

    Every member leaves out rays of its own to choose by, so that together they judge more rays than one could spare,
    and their mean is a better image than any of them. Every attempt starts from the weights that the members come with.
    Rays must be predicted as well as rays that nobody fitted will be in the end, so the last steps are made anew from
    the chosen weights for every use of them.

    Args:
        members: networks of one shape, with weights of their own to start from.
        inputs: (members, 1, 1, row, col), what each of them turns into an image.
        transform: image (row, col) -> (angle, detector).
        data: (angle, detector), dimensionless to the image's scale.
        holdout: rays that choose, for each member, and rays to leave to the last image.
        settings: what to try, and how long.
        precision: (angle, detector), relative inverse variance of each ray's noise; equal if left out.
        on_step: called as (done, total, {"run", "runs", "loss"}) at every checkpoint, with "holdout_loss" while rays
            are held out. Runs are counted from 1: one for every setting tried, then three refits.

    Raises:
        ValueError: members, inputs and the hold-out's rays that are not as many.
        FloatingPointError: no run had a finite loss.
    """
    if not len(members) == len(inputs) == len(holdout.chooses):
        raise ValueError(
            f"expected as many members as inputs and sets of rays that choose, got {len(members)}, {len(inputs)} and "
            f"{len(holdout.chooses)}"
        )
    given = torch.ones_like(data) if precision is None else precision.to(data)
    bfloat16 = has_bfloat16_units(data.device) if settings.bfloat16 is None else settings.bfloat16
    problem = FitProblem(Ensemble(members, channels_last=bfloat16), inputs, transform, data, given, bfloat16)
    seen = torch.where(holdout.judges, 0.0, given)
    attempts = settings.attempts(data, seen, noise_stated=precision is not None)
    progress = _Progress(on_step, [settings.steps] * len(attempts) + [settings.refit_steps] * REFITS)
    best = _best_run(problem, holdout, settings, attempts, progress)

    def refit(rays: Tensor) -> None:
        problem.ensemble.load(best.chosen_state)
        if settings.refit_steps:
            last = FitRun(problem, settings, best.tv_weight, best.floor, rays.expand_as(holdout.chooses))
            last.train(settings.refit_steps, settings.learning_rate / 5, progress.next_run())

    refit(holdout.fitted)
    holdout_residual = torch.where(holdout.chooses, problem.residuals(), 0.0)
    refit(torch.ones_like(holdout.judges))
    full_image = problem.images().mean(dim=0)
    settled = problem.mean_square(problem.residuals().square(), holdout.fitted).mean()
    began = torch.stack([best.losses[look][member] for member, look in enumerate(best.chosen_looks)]).mean()
    refit(~holdout.judges)
    return Fit(
        networks=tuple(problem.ensemble.member(index) for index in range(len(members))),
        image=problem.images().mean(dim=0),
        full_image=full_image,
        tv_weight=best.tv_weight,
        misfit_floor=best.floor,
        chosen_steps=tuple(best.steps[look] for look in best.chosen_looks),
        holdout_residual=holdout_residual,
        steps=torch.tensor(best.steps),
        loss=torch.stack(best.losses).mean(dim=1).sqrt(),
        holdout_loss=torch.stack(best.holdout_losses).mean(dim=1).sqrt(),
        refit_misfit=float((settled / began).sqrt()) if began != 0 else 1.0,
        chosen_weights=tuple(
            {name: weight[index] for name, weight in best.chosen_state.items()} for index in range(len(members))
        ),
    )


def _best_run(
    problem: FitProblem,
    holdout: Holdout,
    settings: FitSettings,
    attempts: Sequence[tuple[float, float]],
    progress: _Progress,
) -> FitRun:
    """Of one run for every (TV weight, misfit floor), each from the same weights, the best by held-out rays.

    A run ends early that lags too far behind what another one had reached in as many steps.
    """
    start = problem.ensemble.state()
    runs: list[FitRun] = []

    def lags(run: FitRun) -> bool:
        look = len(run.bests) - 1
        reached = min((other.bests[look] for other in runs if look < len(other.bests)), default=math.inf)
        return run.steps[-1] >= _LAG_FROM * settings.steps and run.bests[look] > _LAG * reached

    for tv_weight, floor in attempts:
        problem.ensemble.load(start)
        run = FitRun(problem, settings, tv_weight, floor, holdout.fitted, holdout.chooses)
        run.train(settings.steps, settings.learning_rate, progress.next_run(), until=lags)
        runs.append(run)
    best = min(runs, key=lambda run: run.chosen_loss)
    if not math.isfinite(best.chosen_loss):
        raise FloatingPointError("expected a finite loss, got none in any run: try a smaller fit.learning_rate")
    return best


class _Progress:
    """Counts runs, and the steps before them, for `on_step`."""

    def __init__(self, on_step: OnStep | None, lengths: Sequence[int]) -> None:
        self.on_step, self.lengths, self.begun = on_step, [length for length in lengths if length], 0

    def next_run(self) -> Tell:
        before, self.begun = sum(self.lengths[: self.begun]), self.begun + 1
        run = {"run": self.begun, "runs": len(self.lengths)}

        def tell(step: int, info: Mapping[str, float]) -> None:
            if self.on_step is not None:
                self.on_step(before + step, sum(self.lengths), {**run, **info})

        return tell
