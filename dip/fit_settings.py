"""How the deep image prior is fitted, and which weights and misfits are tried on a scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from dip.misfit import RampMisfit, noise_level

TV_SHARES = (5e-4, 2e-3)
"""Weights of total variation to try, in units of the misfit that the data's noise alone would have."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the network is trained. TV weights and floors are tried in every combination; held-out rays choose.

    Args:
        members: of the ensemble. Their mean is a better image and together they choose by more rays; for small images,
            since the time grows with them.
        steps: of Adam, for each combination tried.
        refit_steps: of Adam from the chosen weights, three times over: on the fitted rays, then also on those that
            chose, then on all.
        learning_rate: the peak of the one-cycle schedule; the refit starts at a fifth of it.
        tv_weights: of total variation (the sum of absolute neighbour differences of the dimensionless image), against
            a misfit whose value is 1 for an image of zeros. None: `TV_SHARES` of the misfit that the data's noise alone
            would have, as an edge is worth so many nats whatever the noise.
        misfit_floors: see `RampMisfit`; infinity is plain least squares. None: 0.02, and least squares beside it where
            the noise of every ray is stated, which may outweigh what a pixel grid cannot represent.
        gradient_clip: largest norm of one step's gradient.
        checkpoints: how often in `steps` the held-out rays are looked at.
        bfloat16: train under autocast; None: where the processor has matrix units for it, which is
            faster. It touches the fit alone, not what the error bars are computed from.

    Raises:
        ValueError: numbers out of range, or nothing to try.
    """

    members: int = 1
    steps: int = 750
    refit_steps: int = 250
    learning_rate: float = 5e-3
    tv_weights: tuple[float, ...] | None = None
    misfit_floors: tuple[float, ...] | None = None
    gradient_clip: float = 1.0
    checkpoints: int = 30
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("members", "steps", "checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.refit_steps < 0:
            raise ValueError(f"refit_steps must be 0 or more, got {self.refit_steps}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("tv_weights", "misfit_floors"):
            values = getattr(self, name)
            if values is None:
                continue
            if not values or not all(value >= 0 for value in values):  # NaN is not
                raise ValueError(f"{name} must be one or more numbers from 0, got {values}")

    @property
    def first_choice(self) -> int:
        """The step before which no state of a run is chosen, however well it predicts the rays that choose."""
        return 0

    def floors(self, *, noise_stated: bool) -> tuple[float, ...]:
        """Misfit floors to try, for rays whose relative noise is stated or not."""
        if self.misfit_floors is not None:
            return self.misfit_floors
        return (0.02, math.inf) if noise_stated else (0.02,)

    def n_attempts(self, *, noise_stated: bool) -> int:
        """Combinations that are tried."""
        n_weights = len(TV_SHARES if self.tv_weights is None else self.tv_weights)
        return n_weights * len(self.floors(noise_stated=noise_stated))

    def attempts(self, data: Tensor, precision: Tensor, *, noise_stated: bool) -> list[tuple[float, float]]:
        """Every (TV weight, misfit floor) to try.

        Args:
            data: (angle, detector).
            precision: relative inverse variance of each ray, likewise; rays of precision 0 are not looked at.
            noise_stated: whether somebody stated it.
        """
        return [
            (tv_weight, floor)
            for floor in self.floors(noise_stated=noise_stated)
            for tv_weight in self._weights(RampMisfit(data.shape, floor), data, precision)
        ]

    def _weights(self, misfit: RampMisfit, data: Tensor, precision: Tensor) -> tuple[float, ...]:
        if self.tv_weights is not None:
            return self.tv_weights
        signal = float(misfit(precision.sqrt() * data))
        noise = noise_level(data, precision) ** 2 * misfit.mean_gain * int((precision > 0).sum())
        return tuple(share * noise / signal if signal else 0.0 for share in TV_SHARES)
