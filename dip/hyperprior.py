"""Log-normal priors of variances: what is known of them before a scan, where few rays say little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LogNormal:
    """log θ ~ N(log median, spread²); the density is one of log θ.

    Args:
        median: of θ, in its unit.
        spread: of log θ, in natural logarithms.
    """

    median: float
    spread: float

    def log_density(self, value: float) -> tuple[float, float]:
        """Up to a constant, and its slope by log θ."""
        score = (math.log(value) - math.log(self.median)) / self.spread
        return -0.5 * score**2, -score / self.spread


@dataclass(frozen=True)
class LogNormalPrior:
    """Independent log-normal priors of some variances; of the others, a flat one in log θ.

    Args:
        variances: the priors, by the variance's name.
    """

    variances: Mapping[str, LogNormal]

    def log_density(self, variances: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Up to a constant, and its slopes by log θ, by name."""
        found = {name: prior.log_density(variances[name]) for name, prior in self.variances.items()}
        return sum(value for value, _ in found.values()), {name: slope for name, (_, slope) in found.items()}
