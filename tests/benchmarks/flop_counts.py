"""FLOP that the stages of a reconstruction need, from shapes alone, and what share of a device's peak they reached.

An addition and a multiplication are one FLOP each. What is left out is smaller by the number of weights, rays or
detector pixels: activations, norms, projections, triangular solves of single columns, traces, whitening.

A pass is one image through all convolutions, `ctuq.cost.gflop_of_a_pass`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dip import FitSettings
from dip.fit import REFITS

Flop = dict[str, float]
"""FLOP by precision: "bfloat16", "float32", "float64"."""


def fit_flop(settings: FitSettings, a_pass: float, *, noise_stated: bool) -> float:
    """Of training: a step is a pass forward, and two back, by the features and by the weights; a look is one forward.

    Args:
        settings: how long, and how many attempts, which count whole, though one that lags ends half way.
        a_pass: FLOP of it.
        noise_stated: whether the scan says how noisy each ray is.
    """
    attempts = settings.n_attempts(noise_stated=noise_stated)
    runs = [settings.steps] * attempts + [settings.refit_steps] * REFITS
    passes = sum(3 * steps + _looks(steps, settings.checkpoints) for steps in runs)
    return settings.members * passes * a_pass


def _looks(steps: int, checkpoints: int) -> int:
    every = max(1, steps // checkpoints)
    return -(-steps // every)


def linearise_flop(n_rays: int, n_weights: int, a_pass: float) -> Flop:
    """Of the rows of M = A J, and of the rays' matrices M_b M_bᵀ, which together have a column for every weight.

    A row is a product with Jᵀ: two passes, by the features and by the weights. A matrix is symmetric: half of 2 m² P.
    """
    return {"float32": 2 * n_rays * a_pass, "float64": float(n_rays**2 * n_weights)}


def evidence_flop(evaluations: int, n_learned: int) -> Flop:
    """Of learning the variances: K is factorised, m³/3, and inverted, 2 m³/3, for every evaluation.

    Args:
        evaluations: of the evidence.
        n_learned: m, rays that are learned from: all but those that judge.
    """
    return {"float64": float(evaluations * n_learned**3)}


def posterior_flop(n_rays: int, n_held: int, n_draws: int, a_pass: float) -> Flop:
    """Of the temperature by h rays, of the verdict of as many others, and of draws by Cholesky's factor.

    K is factorised for verdict and draws, and solved for the h rays, and for every draw; for the temperature, without
    the rays that judge, it is factorised and solved for the rays that choose. A draw takes three products with J or its
    transpose (of the prior's draw, of the update, of the image), and each of these two passes.

    Args:
        n_rays: m, all of them.
        n_held: h, those that judge.
        n_draws: images drawn.
        a_pass: FLOP of it.
    """
    learned = n_rays - n_held
    tempering = learned**3 / 3 + 2 * learned**2 * n_held
    algebra = tempering + 2 * n_rays**3 / 3 + 2 * n_rays**2 * (n_held + n_draws)
    return {"float32": 6 * n_draws * a_pass, "float64": algebra}


def achieved(flop: Flop, seconds: float, peaks: Mapping[str, float]) -> dict[str, object]:
    """FLOP a second, and the share of the time that it would have taken at the peak of each precision.

    Args:
        flop: that a stage needs.
        seconds: that it took.
        peaks: FLOP a second of plain products of matrices, by precision.
    """
    return {
        "seconds": seconds,
        "flop": flop,
        "flop_per_second": sum(flop.values()) / seconds,
        "share_of_peak": sum(amount / peaks[precision] for precision, amount in flop.items()) / seconds,
    }
