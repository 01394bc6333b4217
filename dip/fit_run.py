"""One training run of the deep image prior, which remembers where it predicted held-out rays best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.ensemble import Ensemble
from dip.fit_settings import FitSettings
from dip.misfit import RampMisfit, total_variation
from operators import LinearMap

Tell = Callable[[int, Mapping[str, float]], None]
"""Called with a step and what it came to, by name."""


@dataclass(frozen=True)
class FitProblem:
    """What is fitted to what.

    Args:
        ensemble: the members, trained side by side.
        inputs: (members, 1, 1, row, col), what each of them turns into an image.
        transform: image (row, col) -> (angle, detector).
        data: (angle, detector), dimensionless.
        precision: (angle, detector), relative inverse variance of each ray's noise.
        bfloat16: whether passes of the training run in it.
    """

    ensemble: Ensemble
    inputs: Tensor
    transform: LinearMap
    data: Tensor
    precision: Tensor
    bfloat16: bool

    def images(self) -> Tensor:
        """(members, row, col)."""
        with torch.no_grad():
            return self.ensemble(self.inputs).float()

    def residuals(self) -> Tensor:
        """(members, angle, detector)."""
        return self.data - self.transform(self.images())

    def mean_square(self, squared: Tensor, rays: Tensor) -> Tensor:
        """Of these rays, weighed by their precision, (members,)."""
        precision = torch.where(rays, self.precision, 0.0)
        rays_of_one = tuple(range(1, squared.ndim))
        return (squared * precision).sum(dim=rays_of_one) / precision.sum(dim=rays_of_one)


class FitRun:
    """One training run; remembers the weights with which each member predicted its held-out rays best."""

    def __init__(
        self,
        problem: FitProblem,
        settings: FitSettings,
        tv_weight: float,
        floor: float,
        fitted: Tensor,
        held_out: Tensor | None = None,
    ) -> None:
        self.problem, self.settings, self.tv_weight, self.floor = problem, settings, tv_weight, floor
        self.fitted, self.held_out = fitted, held_out
        device = problem.data.device
        # Rays left out weigh nothing; the others by how well they are known.
        self.weight = torch.where(fitted, problem.precision.sqrt(), 0.0)
        self.misfit = RampMisfit(problem.data.shape, floor)
        scale = self.misfit(self.weight * problem.data)
        self.scale = torch.where(scale > 0, scale, 1.0)  # of an empty scan any scale will do
        self.steps: list[int] = []
        self.losses: list[Tensor] = []  # mean squares, (members,)
        self.holdout_losses: list[Tensor] = []
        self.bests: list[float] = []  # `chosen_loss` at every look
        self.chosen_losses = torch.full((len(fitted),), math.inf, device=device)
        self.chosen_looks = [0] * len(fitted)
        self.chosen_state = problem.ensemble.state()

    @property
    def chosen_loss(self) -> float:
        """Mean square of all held-out rays, each member where it was best."""
        return float(self.chosen_losses.mean())

    def train(
        self, steps: int, learning_rate: float, tell: Tell, *, until: Callable[[FitRun], bool] | None = None
    ) -> None:
        """One cycle of Adam; `tell` is called at every checkpoint, and the cycle broken off once `until` says so."""
        ensemble = self.problem.ensemble
        # A short memory for squared gradients: with torch's 0.999 they still remember the steep start when it is over.
        optimiser = torch.optim.Adam(ensemble.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            # torch divides by zero when a tenth of the steps is exactly one
            optimiser,
            max_lr=learning_rate,
            total_steps=steps + (steps == 10),
            pct_start=0.1,
            cycle_momentum=False,
        )
        every = max(1, steps // self.settings.checkpoints)
        for step in range(1, steps + 1):
            optimiser.zero_grad(set_to_none=True)
            self._loss().backward()  # type: ignore[no-untyped-call]
            ensemble.clip_gradients(self.settings.gradient_clip)
            optimiser.step()
            schedule.step()
            if step % every == 0 or step == steps:
                self._look(step)
                told = {"loss": self.losses, "holdout_loss": self.holdout_losses}
                info = {name: float(values[-1].mean().sqrt()) for name, values in told.items() if values}
                tell(step, info)
                if until is not None and until(self):
                    return

    def _loss(self) -> Tensor:
        problem = self.problem
        with torch.autocast(problem.data.device.type, dtype=torch.bfloat16, enabled=problem.bfloat16):
            output = problem.ensemble(problem.inputs)
        images = output.float()
        loss = self.misfit(self.weight * (problem.transform(images) - problem.data)) / self.scale
        if self.tv_weight:
            loss = loss + self.tv_weight * total_variation(images, axes=images.ndim - 1)
        return loss.sum()

    def _look(self, step: int) -> None:
        squared = self.problem.residuals().square()
        self.steps.append(step)
        self.losses.append(self.problem.mean_square(squared, self.fitted))
        if self.held_out is None:
            return
        loss = self.problem.mean_square(squared, self.held_out)
        self.holdout_losses.append(loss)
        better = (loss < self.chosen_losses) & (step >= self.settings.first_choice)
        self.chosen_losses = torch.where(better, loss, self.chosen_losses)
        now = self.problem.ensemble.state()
        for name, weight in self.chosen_state.items():
            weight[better] = now[name][better]
        for member in torch.nonzero(better)[:, 0].tolist():
            self.chosen_looks[member] = len(self.steps) - 1
        self.bests.append(self.chosen_loss)
