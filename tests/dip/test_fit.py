from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dip import Fit, FitSettings, Holdout, RampMisfit, UNet, UNetSettings, fit, total_variation
from operators import MatrixMap
from tests.dip.dense import generator

SHAPE, RAYS = (9, 10), (6, 8)
TRANSFORM = MatrixMap(torch.rand(48, 90, generator=generator(1)) / 9, in_shape=SHAPE, out_shape=RAYS)
TRUTH = torch.zeros(SHAPE)
TRUTH[2:6, 3:8] = 1.0
DATA = TRANSFORM(TRUTH) + 0.02 * torch.randn(RAYS, generator=generator(2))
HELD_OUT = torch.zeros(RAYS, dtype=torch.bool)
HELD_OUT[:, ::4] = True
JUDGES = HELD_OUT.roll(1, dims=1)
HOLDOUT = Holdout(~(HELD_OUT | JUDGES), HELD_OUT, JUDGES)
SHORT = FitSettings(
    steps=40, refit_steps=7, learning_rate=1e-2, tv_weights=(0.0,), misfit_floors=(0.1,), checkpoints=8, bfloat16=False
)


def run(
    settings: FitSettings = SHORT, *, data: Tensor = DATA, holdout: Holdout = HOLDOUT, precision: Tensor | None = None
) -> Fit:
    network = UNet(UNetSettings(channels=(3, 4), skip_channels=(0,)), generator=generator(3))
    start = torch.randn(1, 1, *SHAPE, generator=generator(4))
    return fit(network, start, TRANSFORM, data, holdout=holdout, settings=settings, precision=precision)


def changed(**changes: Any) -> FitSettings:
    return dataclasses.replace(SHORT, **changes)


def test_training_lowers_the_loss() -> None:
    found = run()
    assert float(found.loss[-1]) < float(found.loss[0])
    assert float(found.holdout_loss[-1]) < float(found.holdout_loss[0])


def test_the_image_is_the_networks() -> None:
    found = run()
    with torch.no_grad():
        image = found.network(torch.randn(1, 1, *SHAPE, generator=generator(4)))[0, 0]
    assert torch.equal(found.image, image)
    assert found.image.dtype == torch.float32


def test_same_start_same_fit() -> None:
    first, again = run(), run()
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.holdout_loss, again.holdout_loss)


def test_the_combination_with_the_least_held_out_loss_is_chosen() -> None:
    # Steps and weights such that several are close: a large TV weight must lose, and no weight need not win.
    weights, floors = (0.0, 1e-3, 1e-2, 1.0), (0.05, math.inf)
    every = changed(tv_weights=weights, misfit_floors=floors)
    alone = {
        (tv, floor): run(changed(tv_weights=(tv,), misfit_floors=(floor,)))
        for tv, floor in itertools.product(weights, floors)
    }
    best = min(alone, key=lambda pair: float(alone[pair].holdout_loss.min()))
    found = run(every)
    assert (found.tv_weight, found.misfit_floor) == best
    assert torch.equal(found.holdout_loss, alone[best].holdout_loss)
    assert torch.equal(found.image, alone[best].image)
    assert len({float(one.holdout_loss.min()) for one in alone.values()}) == len(alone)


def test_the_step_with_the_least_held_out_loss_is_kept() -> None:
    found = run(changed(steps=150, learning_rate=0.1, refit_steps=0, checkpoints=30))
    assert found.step == int(found.steps[found.holdout_loss.argmin()])
    assert found.step < 150
    rms = found.holdout_residual[HELD_OUT].square().mean().sqrt()
    torch.testing.assert_close(rms, found.holdout_loss.min())


def test_held_out_rays_choose_but_are_not_trained_on() -> None:
    once = changed(refit_steps=0, checkpoints=1)
    wild = torch.where(HELD_OUT, 100.0, DATA)
    found, other = run(once), run(once, data=wild)
    assert torch.equal(found.image, other.image)
    torch.testing.assert_close((other.holdout_residual - found.holdout_residual)[HELD_OUT], (wild - DATA)[HELD_OUT])


def test_judging_rays_enter_the_full_image_alone() -> None:
    every = changed(tv_weights=(0.0, 1e-3))
    found, other = run(every), run(every, data=torch.where(JUDGES, 100.0, DATA))
    assert torch.equal(found.image, other.image)
    assert torch.equal(found.holdout_residual, other.holdout_residual)
    assert not torch.equal(found.full_image, other.full_image)
    assert torch.equal(found.holdout_loss, other.holdout_loss)
    assert torch.equal(found.loss, other.loss)


def test_the_refit_takes_the_held_out_rays_in() -> None:
    assert not torch.equal(run().image, run(changed(refit_steps=0)).image)
    once = changed(refit_steps=1, checkpoints=1)
    assert not torch.equal(run(once).image, run(once, data=torch.where(HELD_OUT, 5 * DATA, DATA)).image)


def test_held_out_residuals_are_of_a_network_that_never_fitted_them() -> None:
    once = changed(checkpoints=1)  # with one setting and one look, held-out rays have nothing to choose
    found, other = run(once), run(once, data=torch.where(HELD_OUT, 5 * DATA, DATA))
    torch.testing.assert_close(other.holdout_residual - found.holdout_residual, torch.where(HELD_OUT, 4 * DATA, 0.0))
    assert not found.holdout_residual[~HELD_OUT].any()


def test_held_out_residuals_come_after_as_many_steps_as_the_image() -> None:
    # When all but the fitted rays judge, the network is refitted to the fitted rays alone, as for the residual.
    holdout = Holdout(HOLDOUT.fitted, HELD_OUT, ~HOLDOUT.fitted)
    found = run(changed(refit_steps=9), holdout=holdout)
    torch.testing.assert_close(found.holdout_residual, torch.where(HELD_OUT, DATA - TRANSFORM(found.image), 0.0))
    assert not torch.equal(found.holdout_residual, run(changed(refit_steps=0), holdout=holdout).holdout_residual)


def test_precision_weighs_rays_and_zero_leaves_them_out() -> None:
    half = torch.zeros(RAYS, dtype=torch.bool)
    half[:3] = True
    without = run(changed(refit_steps=0, checkpoints=1), holdout=Holdout(HOLDOUT.fitted & ~half, HELD_OUT, JUDGES))
    weightless = run(changed(refit_steps=0, checkpoints=1), precision=(~half).float())
    assert torch.equal(without.image, weightless.image)
    scaled = run(precision=torch.full(RAYS, 4.0))
    torch.testing.assert_close(scaled.image, run().image, rtol=1e-3, atol=1e-3)


def test_choosing_rays_count_by_their_precision() -> None:
    first = torch.zeros(RAYS, dtype=torch.bool)
    first[0] = True
    precision = torch.where(first, 1e-6, 1.0)
    once = changed(refit_steps=0, checkpoints=1)
    plain, wild = (run(once, data=data, precision=precision) for data in (DATA, torch.where(first, 9.0, DATA)))
    torch.testing.assert_close(plain.holdout_loss, wild.holdout_loss, rtol=0.02, atol=0)
    assert float(run(once, data=torch.where(first, 9.0, DATA)).holdout_loss) > 2 * float(run(once).holdout_loss)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20])
def test_any_number_of_steps_trains(steps: int) -> None:
    found = run(changed(steps=steps, refit_steps=steps))
    assert found.image.isfinite().all()
    assert found.steps.tolist()[-1] == steps


def test_a_scan_of_nothing_is_fitted_by_finite_numbers() -> None:
    assert run(data=torch.zeros(RAYS)).holdout_loss.isfinite().all()


def test_every_step_is_told_up_to_the_total() -> None:
    told: list[tuple[int, int, Mapping[str, float]]] = []
    network = UNet(UNetSettings(channels=(3,), skip_channels=()), generator=generator())
    every = changed(tv_weights=(0.0, 1e-3), misfit_floors=(0.1, 1.0))
    fit(
        network,
        torch.ones(1, 1, *SHAPE),
        TRANSFORM,
        DATA,
        holdout=HOLDOUT,
        settings=every,
        on_step=lambda *step: told.append(step),
    )
    done = [step for step, _, _ in told]
    assert done == sorted(set(done))
    assert {total for _, total, _ in told} == {4 * 40 + 3 * 7}
    assert done[-1] == 4 * 40 + 3 * 7
    searching = [set(info) for step, _, info in told if step <= 4 * 40]
    refitting = [set(info) for step, _, info in told if step > 4 * 40]
    assert all(info == {"loss", "holdout_loss"} for info in searching)
    assert refitting
    assert all(info == {"loss"} for info in refitting)


def test_total_variation_counts_every_neighbour_once() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [0.0, -1.0, 3.0]])
    assert float(total_variation(image)) == (1 + 2) + (1 + 4) + (0 + 2 + 0)


def ramp_matrix(n: int, floor: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The filter as a Toeplitz matrix: its kernel is a sum of cosines."""
    frequency = np.arange(2 * n)
    omega = np.minimum(frequency, 2 * n - frequency) / n
    gain = np.ones(2 * n) if math.isinf(floor) else (omega + floor) / (1 + floor)
    kernel = np.cos(np.pi * np.outer(np.arange(n), frequency) / n) @ gain / (2 * n)
    return np.asarray(scipy.linalg.toeplitz(kernel))


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 30)),
    floor=st.floats(0, 5) | st.just(math.inf),
    seed=st.integers(0, 99),
)
def test_ramp_misfit_is_the_dense_quadratic_form(shape: tuple[int, int], floor: float, seed: int) -> None:
    residual = torch.randn(2, *shape, generator=generator(seed), dtype=torch.float64)
    r = residual.reshape(-1, shape[1]).numpy()
    expected = float(np.einsum("vi,ij,vj->", r, ramp_matrix(shape[1], floor), r))
    # The filter is kept in float32.
    scale = float(residual.square().sum())
    assert abs(float(RampMisfit(shape[1], floor)(residual)) - expected) < 10 * torch.finfo(torch.float32).eps * scale


def test_an_infinite_floor_is_least_squares() -> None:
    residual = torch.randn(4, 7, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(RampMisfit(7, math.inf)(residual), residual.square().sum())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"checkpoints": 0}, "checkpoints must be at least 1"),
        ({"refit_steps": -1}, "refit_steps must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"gradient_clip": -1.0}, "gradient_clip must be positive"),
        ({"tv_weights": ()}, "tv_weights must be one or more numbers from 0"),
        ({"tv_weights": (0.0, -1e-6)}, "tv_weights must be one or more numbers from 0"),
        ({"tv_weights": (0.0, math.nan)}, "tv_weights must be one or more numbers from 0"),
        ({"misfit_floors": ()}, "misfit_floors must be one or more numbers from 0"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**changes)
