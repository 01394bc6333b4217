"""How far the linearised network is from the network itself (arXiv 2404.19157)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dip.jacobian import NetworkJacobian
from operators.linear_map import batch_shape


def linearisation_error(jacobian: NetworkJacobian, steps: Tensor) -> float:
    """Median over steps δ of ‖f(w* + δ) − f(w*) − J δ‖ / ‖f(w* + δ) − f(w*)‖: 0 where J tells the whole truth.

    Around 1 or more, images that the posterior holds for possible are not what the network makes of such weights. The
    biases stay as they are, and a slope floor of a sigmoid output counts as error, as it does in the posterior. A step
    that does not change the image at all counts as 0 if J says the same, and as infinite if not; so does one that takes
    either of them out of range.

    Args:
        jacobian: J at the weights w*.
        steps: δ, (n, P): draws from the prior, or from the posterior by `LinearModel.weight_draws`.

    Raises:
        ValueError: steps of another shape, or none.
    """
    if steps.ndim != 2 or len(steps) == 0:
        raise ValueError(f"steps must be (n, {jacobian.in_shape[0]}) with n at least 1, got {tuple(steps.shape)}")
    batch_shape(steps, jacobian.in_shape, "steps")
    origin = jacobian.outputs(torch.zeros_like(steps[0]))
    changes = torch.stack([jacobian.outputs(step) for step in steps]) - origin
    missed = (changes - jacobian(steps)).flatten(1).norm(dim=1)
    relative = torch.where(missed == 0, 0.0, missed / changes.flatten(1).norm(dim=1))
    return float(relative.nan_to_num(nan=math.inf, posinf=math.inf).median())
