"""The deep image prior's fit: train the network on one scan, and let held-out rays say how and how long."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dip.holdout import Holdout
from dip.unet import UNet
from operators import LinearMap

OnStep = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the network is trained. TV weights and floors are tried in every combination; held-out rays choose.

    Args:
        steps: of Adam, for each combination tried.
        refit_steps: of Adam from the chosen weights, three times over: on the fitted rays, then also on those that
            chose, then on all.
        learning_rate: the peak of the one-cycle schedule; the refit starts at a fifth of it.
        tv_weights: of total variation (the sum of absolute neighbour differences of the dimensionless image), against
            a misfit whose value is 1 for an image of zeros.
        misfit_floors: see `RampMisfit`; infinity is plain least squares.
        gradient_clip: largest norm of one step's gradient.
        checkpoints: how often in `steps` the held-out rays are looked at.
        bfloat16: train under autocast; None: where the processor has matrix units for it, and the fit is then about
            three times as fast. It touches the fit alone, never what the error bars are computed from.

    Raises:
        ValueError: numbers out of range, or nothing to try.
    """

    steps: int = 750
    refit_steps: int = 250
    learning_rate: float = 5e-3
    tv_weights: tuple[float, ...] = (5e-7, 2e-6)
    misfit_floors: tuple[float, ...] = (0.02,)
    gradient_clip: float = 1.0
    checkpoints: int = 30
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.refit_steps < 0:
            raise ValueError(f"refit_steps must be 0 or more, got {self.refit_steps}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("tv_weights", "misfit_floors"):
            values = getattr(self, name)
            if not values or not all(value >= 0 for value in values):  # NaN is not
                raise ValueError(f"{name} must be one or more numbers from 0, got {values}")


class RampMisfit:
    """Σ r (g ∗ r) over the detector, g the filter (|ω| + floor)/(1 + floor), |ω| from 0 to 1 at Nyquist.

    Errors of the pixel grid itself are white in the image, so in a view they have the covariance A Aᵀ ~ 1/|ω|. The ramp
    whitens them: it is the likelihood of a scan whose model error outweighs its noise, and it makes AᵀGA nearly the
    identity, so that fine detail is fitted in a tenth of the steps. The floor is the noise's share; with an infinite
    floor the misfit is plain least squares, the likelihood of white noise.

    Args:
        n_detectors: length of the residual's last axis.
        floor: 0 or more.
    """

    def __init__(self, n_detectors: int, floor: float) -> None:
        self._length = 2 * n_detectors  # zero padding: the filter must not wrap around
        ramp = torch.linspace(0, 1, n_detectors + 1)
        self._gain = torch.ones_like(ramp) if math.isinf(floor) else (ramp + floor) / (1 + floor)

    def __call__(self, residual: Tensor) -> Tensor:
        """(*batch, angle, detector) -> scalar."""
        gain = self._gain.to(residual)
        spectrum = torch.fft.rfft(residual, n=self._length)
        power = spectrum.real.square() + spectrum.imag.square()
        twice = torch.full_like(gain, 2.0)
        twice[0] = twice[-1] = 1.0  # frequencies 0 and Nyquist appear once in the full spectrum (Parseval)
        energy: Tensor = (power * (gain * twice)).sum() / self._length
        return energy


@dataclass(frozen=True)
class Fit:
    """A trained network and how it came to be.

    Args:
        network: trained on all rays but those that judge: what it says of them can be checked.
        image: (row, col), the network's, dimensionless, float32.
        full_image: (row, col), the same number of steps from the same weights on all rays: nothing is left out of it,
            and nothing measured is left to check it.
        tv_weight: chosen on held-out rays.
        misfit_floor: chosen likewise.
        step: chosen likewise.
        holdout_residual: (angle, detector), data minus projection by a network that never fitted the rays that chose,
            at those rays; 0 elsewhere.
        steps: (n,) at which the chosen run was looked at.
        loss: (n,) root mean square residual of the fitted rays weighed by their precision, in units of the data.
        holdout_loss: (n,) the same of the rays that choose.
    """

    network: UNet
    image: Tensor
    full_image: Tensor
    tv_weight: float
    misfit_floor: float
    step: int
    holdout_residual: Tensor
    steps: Tensor
    loss: Tensor
    holdout_loss: Tensor


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 have hardware of their own there."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def total_variation(image: Tensor) -> Tensor:
    """Sum of absolute differences between neighbours in the last two axes (anisotropic total variation)."""
    return image.diff(dim=-1).abs().sum() + image.diff(dim=-2).abs().sum()


def fit(
    network: UNet,
    network_input: Tensor,
    transform: LinearMap,
    data: Tensor,
    *,
    holdout: Holdout,
    settings: FitSettings,
    precision: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Fit:
    """Train on the fitted rays once for every setting tried, keep what predicts the choosing rays best, and refit.

    Every attempt starts from the weights that the network comes with. Rays must be predicted as well as rays that
    nobody fitted will be in the end, so the last steps are made anew from the chosen weights for every use of them.

    Args:
        network: trained in place.
        network_input: (1, 1, row, col).
        transform: image (row, col) -> (angle, detector).
        data: (angle, detector), dimensionless to the image's scale.
        holdout: rays to train on, rays that choose the setting and the step, and rays to leave to the last image.
        settings: what to try, and how long.
        precision: (angle, detector), relative inverse variance of each ray's noise; equal if left out.
        on_step: called as (done, total, {"loss"}) at every checkpoint, with "holdout_loss" while one is held out.

    Raises:
        FloatingPointError: no run had a finite loss.
    """
    problem = _Problem(network, network_input, transform, data, precision)
    start = copy.deepcopy(network.state_dict())
    attempts = [(tv, floor) for floor in settings.misfit_floors for tv in settings.tv_weights]
    total = len(attempts) * settings.steps + 3 * settings.refit_steps
    runs = []
    for number, (tv_weight, floor) in enumerate(attempts):
        network.load_state_dict(start)
        run = _Run(problem, settings, tv_weight, floor, holdout.fitted, holdout.chooses)
        run.train(settings.steps, settings.learning_rate, number * settings.steps, total, on_step)
        runs.append(run)
    best = min(runs, key=lambda run: run.best_loss)
    if not math.isfinite(best.best_loss):
        raise FloatingPointError("expected a finite loss, got none in any run: try a smaller fit.learning_rate")

    def refit(rays: Tensor, number: int) -> None:
        network.load_state_dict(best.best_state)
        if settings.refit_steps:
            done = len(attempts) * settings.steps + number * settings.refit_steps
            last = _Run(problem, settings, best.tv_weight, best.floor, rays)
            last.train(settings.refit_steps, settings.learning_rate / 5, done, total, on_step)

    refit(holdout.fitted, 0)
    holdout_residual = torch.where(holdout.chooses, problem.residual(), 0.0)
    refit(torch.ones_like(holdout.fitted), 1)
    full_image = problem.image()
    refit(~holdout.judges, 2)
    return Fit(
        network=network,
        image=problem.image(),
        full_image=full_image,
        tv_weight=best.tv_weight,
        misfit_floor=best.floor,
        step=best.best_step,
        holdout_residual=holdout_residual,
        steps=torch.tensor(best.steps),
        loss=torch.tensor(best.losses),
        holdout_loss=torch.tensor(best.holdout_losses),
    )


@dataclass(frozen=True)
class _Problem:
    network: UNet
    network_input: Tensor
    transform: LinearMap
    data: Tensor
    precision: Tensor | None

    def image(self) -> Tensor:
        with torch.no_grad():
            image: Tensor = self.network(self.network_input)[0, 0].float()
            return image

    def residual(self) -> Tensor:
        return self.data - self.transform(self.image())


class _Run:
    """One training run; remembers the weights that predicted the held-out rays best, where any are."""

    def __init__(
        self,
        problem: _Problem,
        settings: FitSettings,
        tv_weight: float,
        floor: float,
        fitted: Tensor,
        held_out: Tensor | None = None,
    ) -> None:
        self.problem, self.settings, self.tv_weight, self.floor = problem, settings, tv_weight, floor
        self.fitted, self.held_out = fitted, held_out
        device = problem.data.device
        self.bfloat16 = has_bfloat16_units(device) if settings.bfloat16 is None else settings.bfloat16
        # Rays left out weigh nothing; the others by how well they are known.
        given = torch.ones_like(problem.data) if problem.precision is None else problem.precision.to(problem.data)
        self.precision = given
        self.weight = torch.where(fitted, given.sqrt(), 0.0)
        self.misfit = RampMisfit(problem.data.shape[-1], floor)
        self.scale = float(self.misfit(self.weight * problem.data)) or 1.0  # of an empty scan any scale will do
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.holdout_losses: list[float] = []
        self.best_loss, self.best_step = math.inf, 0
        self.best_state = problem.network.state_dict()

    def train(self, steps: int, learning_rate: float, done: int, total: int, on_step: OnStep | None) -> None:
        """One cycle of Adam; on_step is told of `done` + step out of `total`."""
        parameters = list(self.problem.network.parameters())
        # A short memory for squared gradients: with torch's 0.999 they still remember the steep start when it is over.
        optimiser = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
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
            nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
            optimiser.step()
            schedule.step()
            if step % every == 0 or step == steps:
                self._look(step)
                if on_step is not None:
                    told = {"loss": self.losses, "holdout_loss": self.holdout_losses}
                    on_step(done + step, total, {name: values[-1] for name, values in told.items() if values})

    def _loss(self) -> Tensor:
        problem = self.problem
        with torch.autocast(problem.data.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            output = problem.network(problem.network_input)
        image = output[0, 0].float()
        loss = self.misfit(self.weight * (problem.transform(image) - problem.data)) / self.scale
        return loss + self.tv_weight * total_variation(image) if self.tv_weight else loss

    def _look(self, step: int) -> None:
        squared = self.problem.residual().square()
        self.steps.append(step)
        self.losses.append(self._root_mean_square(squared, self.fitted))
        if self.held_out is None:
            return
        self.holdout_losses.append(self._root_mean_square(squared, self.held_out))
        if self.holdout_losses[-1] < self.best_loss:
            self.best_loss, self.best_step = self.holdout_losses[-1], step
            self.best_state = copy.deepcopy(self.problem.network.state_dict())

    def _root_mean_square(self, squared: Tensor, rays: Tensor) -> float:
        precision = self.precision[rays]
        return float(((squared[rays] * precision).sum() / precision.sum()).sqrt())
