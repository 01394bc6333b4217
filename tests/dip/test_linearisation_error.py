from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dip import linearisation_error
from tests.cases import network_jacobian
from tests.dip.dense import randn

JACOBIAN = network_jacobian()


def steps(n: int = 5) -> Tensor:
    return randn(n, *JACOBIAN.in_shape)


def test_an_output_layer_alone_is_linear() -> None:
    only_outward = torch.zeros_like(steps())
    where = JACOBIAN.layers()["outward"]
    only_outward[:, where] = steps()[:, where]
    assert linearisation_error(JACOBIAN, only_outward) < 1e-12


def test_it_is_in_proportion_to_tiny_steps_and_grows_with_them() -> None:
    tiny, twice, small, large = (linearisation_error(JACOBIAN, size * steps()) for size in (1e-6, 2e-6, 1e-2, 1.0))
    assert tiny < 1e-4
    assert twice == pytest.approx(2 * tiny, rel=0.01)
    assert tiny < small < large
    assert large > 0.3


def test_it_is_the_median_over_the_steps() -> None:
    one_by_one = [linearisation_error(JACOBIAN, 0.1 * step[None]) for step in steps()]
    assert linearisation_error(JACOBIAN, 0.1 * steps()) == pytest.approx(sorted(one_by_one)[2])


def test_the_network_is_left_as_it_was() -> None:
    before = JACOBIAN.weights()
    linearisation_error(JACOBIAN, steps())
    assert torch.equal(JACOBIAN.weights(), before)


def test_no_step_is_no_error() -> None:
    assert linearisation_error(JACOBIAN, torch.zeros_like(steps())) == 0


@pytest.mark.parametrize("wrong", [torch.zeros(0, JACOBIAN.in_shape[0]), torch.zeros(3, 4), torch.zeros(4)])
def test_other_shapes_are_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="steps must"):
        linearisation_error(JACOBIAN, wrong)


def test_a_step_out_of_range_is_no_step_that_j_explains() -> None:
    jacobian = network_jacobian(dtype=torch.float32)
    assert linearisation_error(jacobian, 1e30 * steps().float()) == float("inf")
