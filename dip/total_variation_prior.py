"""A prior of the variances by how much the images they hold for possible may vary (TV-PredCP, arXiv 2203.00479)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dip.filter_covariance import DISTANCES, correlations, tap_pairs
from dip.jacobian import NetworkJacobian
from dip.weight_prior import WeightGroup, length_name

_BATCHES = 16  # of the Jacobian at a time: they share one forward pass
_MEAN_SIZE = math.sqrt(2 / math.pi)  # of a standard normal variable


class TotalVariationPrior:
    """κ_b ~ Exponential(λ) for each group b of weights, κ_b = E[TV of its prior images], as a prior of s_b² and ℓ_b.

    A neighbour difference of a zero-mean Gaussian image is Gaussian, so that κ_b = Σ_edges √(2/π) sd(x_i − x_j) in
    closed form, for which the published method draws images. The density is one of log s_b² for every ℓ_b, and flat in
    ℓ_b, with the factor |∂κ_b/∂ log s_b²| = κ_b/2 that the change of variable brings (arXiv 2203.00479, the TV-PredCP
    prior; there the variable is ℓ_b). A group that moves no pixel makes no difference, and has no say.

    Costs one vector-Jacobian product for every pair of neighbours, about two a pixel, once: minutes at 128².

    Args:
        jacobian: J.
        groups: of its weights.
        rate: λ, per unit of total variation; 1/λ is the mean of κ_b.

    Raises:
        ValueError: a rate that is not positive.
    """

    def __init__(self, jacobian: NetworkJacobian, groups: Mapping[str, WeightGroup], *, rate: float) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.rate = rate
        parts: dict[str, list[Tensor]] = {name: [] for name in groups}
        pairs = tap_pairs().to(jacobian.network_input.device)
        for differences in _difference_rows(jacobian):
            for name, group in groups.items():
                parts[name].append(_variances(differences[:, group.index], group, pairs))
        spread = {name: torch.cat(chunks, dim=-1) for name, chunks in parts.items()}
        # (distances, edges): variance of every neighbour difference at unit s², of uncorrelated weights one distance.
        self._spread = {name: variances for name, variances in spread.items() if variances.any()}
        self._correlated = {name for name, group in groups.items() if group.correlated}

    def expected(self, variances: Mapping[str, float]) -> dict[str, float]:
        """κ_b by group: total variation expected of its prior images, in units of the image.

        Args:
            variances: s_b² by name, and lengths ℓ_b.
        """
        return {name: self._with_length_slope(name, variances)[0] for name in self._spread}

    def log_density(self, variances: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Σ_b log λ − λ κ_b + log(κ_b/2), and its slope by the logarithm of every s_b² and ℓ_b it depends on."""
        value, slopes = 0.0, {}
        for name in self._spread:
            kappa, by_length = self._with_length_slope(name, variances)
            value += math.log(self.rate) - self.rate * kappa + math.log(kappa / 2)
            slopes[name] = 0.5 - 0.5 * self.rate * kappa
            if name in self._correlated:
                slopes[length_name(name)] = (1 / kappa - self.rate) * by_length
        return value, slopes

    def _with_length_slope(self, name: str, variances: Mapping[str, float]) -> tuple[float, float]:
        """κ_b and ∂κ_b/∂ log ℓ_b."""
        spread, variance = self._spread[name], variances[name]
        if name not in self._correlated:
            return _MEAN_SIZE * float((variance * spread[0]).sqrt().sum()), 0.0
        length = variances[length_name(name)]
        correlation = spread.new_tensor(correlations(length))
        std = (variance * correlation @ spread).sqrt()
        changes = variance * (correlation * spread.new_tensor(DISTANCES) / length) @ spread
        by_length = torch.where(std > 0, changes / (2 * std), 0.0)
        return _MEAN_SIZE * float(std.sum()), _MEAN_SIZE * float(by_length.sum())


def _difference_rows(jacobian: NetworkJacobian) -> Iterator[Tensor]:
    """Rows of D J, (chunk, P) float64: how the weights move the differences of vertical, then horizontal neighbours."""
    rows, cols = jacobian.out_shape
    pixels = torch.arange(rows * cols).reshape(rows, cols)
    first = torch.cat([pixels[1:].flatten(), pixels[:, 1:].flatten()])
    second = torch.cat([pixels[:-1].flatten(), pixels[:, :-1].flatten()])
    size = _BATCHES * jacobian.batch
    for plus, minus in zip(torch.split(first, size), torch.split(second, size), strict=True):
        difference = torch.zeros(len(plus), rows * cols).to(jacobian.network_input)
        difference[torch.arange(len(plus)), plus] = 1
        difference[torch.arange(len(plus)), minus] = -1
        yield jacobian.adjoint(difference.reshape(-1, rows, cols)).double()


def _variances(rows: Tensor, group: WeightGroup, pairs: Tensor) -> Tensor:
    """Of what `rows` (n, weights of the group) make of weights at unit s², by tap distance: (1 or 6, n)."""
    if not group.correlated:
        return (rows * group.relative_std.to(rows)).square().sum(1)[None]
    taps = rows.reshape(len(rows), -1, 9)
    return torch.einsum("dij,nij->dn", pairs, taps.mT @ taps)
