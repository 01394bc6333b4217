"""What a user must know before believing a result."""

from __future__ import annotations

import math

from ctuq.amount import amount
from dip import Learned, PosteriorMethod, PosteriorSettings

# At 1 network and linearisation have nothing in common, which is where scans usually are: most of the weights that the
# rays leave open do nothing to first order, and much to the second. Test rays judge the linear model all the same.
# Beyond 2 its images move further than the network's own, by the triangle inequality.
_LINEARISATION_ERROR_UP_TO = 2.0

# A refit goes on from weights that fit already: what it leaves of the rays is less, or a few per cent more.
_REFIT_MISFIT_UP_TO = 1.1

# What to try where samples by a method did not reach the tolerance.
_ALTERNATIVES: dict[PosteriorMethod, str] = {
    "cholesky": "posterior.method=dense, which is exact",
    "cg": "a larger posterior.preconditioner_rank or posterior.max_iterations, or posterior.method=cholesky",
    "sgd": "a larger posterior.preconditioner_rank or posterior.max_iterations, or posterior.method=cg",
    "sdd": "a larger posterior.preconditioner_rank or posterior.max_iterations, or posterior.method=cholesky",
}


def beware(
    learned: Learned,
    residual: float,
    method: PosteriorMethod,
    settings: PosteriorSettings,
    *,
    linearisation_error: float | None,
    refit_misfit: float,
    judging_draws: int,
) -> tuple[str, ...]:
    """Warnings that go with a result, the most important first.

    Args:
        learned: the variances.
        residual: the worst relative residual of a sample.
        method: that drew the samples.
        settings: of the posterior.
        linearisation_error: None where there is none.
        refit_misfit: what the refit left of the fitted rays, relative to what the fit before had left.
        judging_draws: samples behind the verdict of the test rays; 0 where it is exact.
    """
    notes = []
    if not refit_misfit <= _REFIT_MISFIT_UP_TO:  # NaN is not
        notes.append(
            f"the image was refitted to all rays, which left {refit_misfit:.2g} times as much of the fitted ones as "
            "the fit before: it has not settled, and may be off by more than its deviations; test rays, which judge "
            "a refit of their own, need not show it: try a larger fit.refit_steps"
        )
    if not residual <= settings.tolerance:  # NaN is not
        # A dense posterior draws exactly; then it is what judges that did not get there.
        method = "cg" if method == "dense" else method
        notes.append(
            f"expected samples whose equations are solved to posterior.tolerance={settings.tolerance:g}, got "
            f"{residual:.3g} with posterior.method={method}: take the deviation as no better known, or try "
            f"{_ALTERNATIVES[method]}"
        )
    if settings.image_temperature != 1:
        notes.append(
            f"the deviations were multiplied by {math.sqrt(settings.image_temperature):.2g} after the test rays had "
            f"judged them (posterior.image_temperature={settings.image_temperature:g}): believe them as far as images "
            "with a known truth bear that factor out"
        )
    if linearisation_error is not None and not linearisation_error <= _LINEARISATION_ERROR_UP_TO:
        notes.append(
            "at weights drawn from the posterior the linear model misses the network's image by "
            f"{linearisation_error:.2g} times what the network changes it: the deviations may be larger than anything "
            "that the network can make; believe them as far as the test rays bear them out, or try another prior.kind"
        )
    if judging_draws:
        notes.append(
            f"more rays than posterior.cholesky_rays={settings.cholesky_rays:,}, whose covariance is not held: test "
            f"rays were judged one by one, by {amount(judging_draws, 'draw')}; chi-square is the mean square of their "
            "z-scores, which does not see whether rays err together as predicted"
        )
    if not learned.solved:
        notes.append(
            "the variances rest on equations that were not solved as closely as posterior.tolerance="
            f"{settings.tolerance:g} asks: believe the error bars only as far as the test rays bear them out, or try a "
            "larger posterior.max_iterations or posterior.preconditioner_rank, or another evidence.method"
        )
    if not learned.converged:
        notes.append(
            f"the variances were still improving after {amount(learned.evaluations, 'evaluation')}: try a larger "
            "evidence.max_evaluations"
        )
    return tuple(notes)
