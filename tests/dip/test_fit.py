from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from dip import Fit, FitSettings, Holdout, UNet, UNetSettings, fit, hold_out
from dip.fit_settings import TV_SHARES
from operators import ConeBeam, MatrixMap, RayTransform, VolumeGrid, filtered_back_projection
from tests.dip.dense import generator

SHAPE, RAYS = (9, 10), (6, 8)
TRANSFORM = MatrixMap(torch.rand(48, 90, generator=generator(1)) / 9, in_shape=SHAPE, out_shape=RAYS)
TRUTH = torch.zeros(SHAPE)
TRUTH[2:6, 3:8] = 1.0
DATA = TRANSFORM(TRUTH) + 0.02 * torch.randn(RAYS, generator=generator(2))
HELD_OUT = torch.zeros(RAYS, dtype=torch.bool)
HELD_OUT[:, ::4] = True
JUDGES = HELD_OUT.roll(1, dims=1)
HOLDOUT = Holdout(HELD_OUT[None], JUDGES)
MEMBERS = Holdout(torch.stack([HELD_OUT, HELD_OUT.roll(2, dims=1)]), JUDGES)
SHORT = FitSettings(
    steps=40, refit_steps=7, learning_rate=1e-2, tv_weights=(0.0,), misfit_floors=(0.1,), checkpoints=8, bfloat16=False
)


def network(seed: int = 3) -> UNet:
    return UNet(UNetSettings(channels=(3, 4), skip_channels=(0,)), generator=generator(seed))


def network_input() -> Tensor:
    return torch.randn(1, 1, *SHAPE, generator=generator(4))


def run(
    settings: FitSettings = SHORT,
    *,
    data: Tensor = DATA,
    holdout: Holdout = HOLDOUT,
    precision: Tensor | None = None,
    seeds: tuple[int, ...] = (3,),
) -> Fit:
    members = [network(seed) for seed in seeds]
    inputs = torch.stack([network_input()] * len(seeds))
    return fit(members, inputs, TRANSFORM, data, holdout=holdout, settings=settings, precision=precision)


def changed(**changes: Any) -> FitSettings:
    return dataclasses.replace(SHORT, **changes)


def test_training_lowers_the_loss() -> None:
    found = run()
    assert float(found.loss[-1]) < float(found.loss[0])
    assert float(found.holdout_loss[-1]) < float(found.holdout_loss[0])


def test_the_image_is_the_networks() -> None:
    found = run()
    with torch.no_grad():
        image = found.networks[0](network_input())[0, 0]
    torch.testing.assert_close(found.image, image)
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


def test_total_variation_is_weighed_by_the_noise_that_neighbouring_rays_show() -> None:
    smooth = torch.sin(torch.arange(48.0) / 48 * math.pi).expand(30, 48)
    data = smooth + 0.1 * torch.randn(30, 48, generator=generator(5))
    nobody = torch.zeros(30, 48, dtype=torch.bool)
    chooses, judges = nobody.clone(), nobody.clone()
    chooses[::4], judges[1::4] = True, True
    transform = MatrixMap(torch.rand(1440, 90, generator=generator(1)) / 9, in_shape=SHAPE, out_shape=(30, 48))
    found = fit(
        [network()],
        network_input()[None],
        transform,
        data,
        holdout=Holdout(chooses[None], judges),
        settings=changed(tv_weights=None, misfit_floors=(math.inf,)),
    )
    share_of_noise = 0.1**2 / float(data[~judges].square().mean())
    # The deviation of n rays is known to 1.17 * sqrt(3 / n), its square to twice as much.
    error = 4 * 2 * 1.17 * math.sqrt(3 / int((~judges).sum()))
    assert min(abs(found.tv_weight / share_of_noise / share - 1) for share in TV_SHARES) < error


def test_the_step_with_the_least_held_out_loss_is_kept() -> None:
    found = run(changed(steps=150, learning_rate=0.1, refit_steps=0, checkpoints=30))
    assert found.chosen_steps == (int(found.steps[found.holdout_loss.argmin()]),)
    assert found.chosen_steps[0] < 150
    rms = found.holdout_residual[0, HELD_OUT].square().mean().sqrt()
    torch.testing.assert_close(rms, found.holdout_loss.min())


def test_no_step_before_the_first_choice_is_kept() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(FitSettings):
        @property
        def first_choice(self) -> int:
            return 100

    early = changed(steps=150, learning_rate=0.1, refit_steps=0, checkpoints=30)
    found, later = run(early), run(Later(**vars(early)))
    assert found.chosen_steps[0] < 100
    assert torch.equal(found.holdout_loss, later.holdout_loss)
    left = later.steps >= 100
    assert later.chosen_steps == (int(later.steps[left][later.holdout_loss[left].argmin()]),)


def test_held_out_rays_choose_but_are_not_trained_on() -> None:
    once = changed(refit_steps=0, checkpoints=1)
    wild = torch.where(HELD_OUT, 100.0, DATA)
    found, other = run(once), run(once, data=wild)
    assert torch.equal(found.image, other.image)
    torch.testing.assert_close((other.holdout_residual - found.holdout_residual)[0, HELD_OUT], (wild - DATA)[HELD_OUT])


@pytest.mark.parametrize("tv_weights", [(0.0, 1e-3), None])
def test_judging_rays_enter_the_full_image_alone(tv_weights: tuple[float, ...] | None) -> None:
    every = changed(tv_weights=tv_weights)
    found, other = run(every), run(every, data=torch.where(JUDGES, 100.0, DATA))
    assert torch.equal(found.image, other.image)
    assert torch.equal(found.holdout_residual, other.holdout_residual)
    assert not torch.equal(found.full_image, other.full_image)
    assert torch.equal(found.holdout_loss, other.holdout_loss)
    assert torch.equal(found.loss, other.loss)


def test_chosen_weights_are_those_before_any_refit() -> None:
    found, refitted = run(changed(refit_steps=0), seeds=(3, 5), holdout=MEMBERS), run(seeds=(3, 5), holdout=MEMBERS)
    for weights, alone, again in zip(found.chosen_weights, found.networks, refitted.chosen_weights, strict=True):
        for name, value in alone.state_dict().items():
            assert torch.equal(weights[name], value)
            assert torch.equal(weights[name], again[name])
    assert not torch.equal(found.chosen_weights[0]["outward.weight"], found.chosen_weights[1]["outward.weight"])


@pytest.mark.parametrize(("rays", "settings"), [(JUDGES, SHORT), (HELD_OUT, changed(checkpoints=1))])
def test_chosen_weights_were_trained_on_no_ray_that_judges_or_chooses(rays: Tensor, settings: FitSettings) -> None:
    # With one setting and one look, the rays that choose have nothing to choose.
    found, other = run(settings), run(settings, data=torch.where(rays, 100.0, DATA))
    for name, value in found.chosen_weights[0].items():
        assert torch.equal(value, other.chosen_weights[0][name])
    third = run(settings, data=torch.where(HELD_OUT | JUDGES, DATA, 2 * DATA))
    assert not torch.equal(found.chosen_weights[0]["outward.weight"], third.chosen_weights[0]["outward.weight"])


def test_the_refit_takes_the_held_out_rays_in() -> None:
    assert not torch.equal(run().image, run(changed(refit_steps=0)).image)
    once = changed(refit_steps=1, checkpoints=1)
    assert not torch.equal(run(once).image, run(once, data=torch.where(HELD_OUT, 5 * DATA, DATA)).image)


def test_held_out_residuals_are_of_a_network_that_never_fitted_them() -> None:
    once = changed(checkpoints=1)  # with one setting and one look, held-out rays have nothing to choose
    found, other = run(once), run(once, data=torch.where(HELD_OUT, 5 * DATA, DATA))
    torch.testing.assert_close(
        other.holdout_residual - found.holdout_residual, torch.where(HELD_OUT, 4 * DATA, 0.0)[None]
    )
    assert not found.holdout_residual[0, ~HELD_OUT].any()


def test_held_out_residuals_come_after_as_many_steps_as_the_image() -> None:
    # When all but the fitted rays judge, the network is refitted to the fitted rays alone, as for the residual.
    holdout = Holdout(HELD_OUT[None], ~HOLDOUT.fitted[0])
    found = run(changed(refit_steps=9), holdout=holdout)
    residual = torch.where(HELD_OUT, DATA - TRANSFORM(found.image), 0.0)
    torch.testing.assert_close(found.holdout_residual[0], residual)
    assert not torch.equal(found.holdout_residual, run(changed(refit_steps=0), holdout=holdout).holdout_residual)


def test_precision_weighs_rays_and_zero_leaves_them_out() -> None:
    half = torch.zeros(RAYS, dtype=torch.bool)
    half[:3] = True
    without = run(changed(refit_steps=0, checkpoints=1), holdout=Holdout(HELD_OUT[None], JUDGES | half))
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
    every = changed(tv_weights=(0.0, 1e-3), misfit_floors=(0.1, 1.0))
    fit(
        [network()],
        network_input()[None],
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
    assert all(info == {"run", "runs", "loss", "holdout_loss"} for info in searching)
    assert refitting
    assert all(info == {"run", "runs", "loss"} for info in refitting)
    assert {info["runs"] for _, _, info in told} == {4 + 3}
    assert [info["run"] for step, _, info in told if step in (40, 160, 161, 167, 181)] == [1, 4, 5, 5, 7]


def test_members_learn_nothing_from_each_other() -> None:
    """Only the choice of TV weight and floor is common; with one of each, an ensemble is its members."""
    both = run(holdout=MEMBERS, seeds=(3, 5))
    alone = [run(holdout=Holdout(MEMBERS.chooses[i : i + 1], JUDGES), seeds=(seed,)) for i, seed in enumerate((3, 5))]
    torch.testing.assert_close(both.image, (alone[0].image + alone[1].image) / 2, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(both.full_image, (alone[0].full_image + alone[1].full_image) / 2, rtol=1e-3, atol=1e-3)
    residual = torch.cat([one.holdout_residual for one in alone])
    torch.testing.assert_close(both.holdout_residual, residual, rtol=1e-2, atol=1e-3)
    assert both.chosen_steps == alone[0].chosen_steps + alone[1].chosen_steps


def test_each_member_is_kept_where_it_was_best() -> None:
    found = run(changed(steps=150, learning_rate=0.1, refit_steps=0, checkpoints=30), holdout=MEMBERS, seeds=(3, 5))
    squares = found.holdout_residual.square().sum(dim=(1, 2)) / MEMBERS.chooses.sum(dim=(1, 2))
    assert float(squares.mean().sqrt()) <= float(found.holdout_loss.min()) * (1 + 1e-5)
    assert found.chosen_steps[0] != found.chosen_steps[1]


def test_as_many_members_as_sets_of_rays_are_asked_for() -> None:
    with pytest.raises(ValueError, match="as many members as inputs and sets of rays that choose, got 2, 2 and 1"):
        run(seeds=(3, 5))


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


def test_least_squares_is_tried_where_the_noise_of_every_ray_is_stated() -> None:
    settings = FitSettings(tv_weights=(1.0, 2.0, 3.0))
    assert settings.floors(noise_stated=False) == (0.02,)
    assert settings.floors(noise_stated=True) == (0.02, math.inf)
    assert settings.n_attempts(noise_stated=True) == 2 * settings.n_attempts(noise_stated=False) == 6
    chosen = FitSettings(tv_weights=(1.0,), misfit_floors=(0.5,))
    assert chosen.floors(noise_stated=True) == chosen.floors(noise_stated=False) == (0.5,)


def test_a_volume_is_fitted_as_an_image_is() -> None:
    cone = ConeBeam(
        grid=VolumeGrid(shape=(3, 8, 8)),
        angles_rad=[0.3 * view for view in range(24)],
        n_rows=5,
        n_detectors=12,
        pitch_mm=1.5,
        source_origin_mm=30,
        origin_detector_mm=10,
    )
    transform = RayTransform(cone)
    truth = torch.zeros(cone.grid.shape)
    truth[1:, 2:6, 3:6] = 1.0
    data = transform(truth)
    holdout = hold_out(transform.out_shape, 0.1, n_members=2, generator=generator())
    settings = UNetSettings(channels=(4, 4), skip_channels=(0,))
    found = fit(
        [UNet(settings, generator=generator(seed), dimensions=3) for seed in (1, 2)],
        filtered_back_projection(cone, data).expand(2, 1, 1, *cone.grid.shape),
        transform,
        data,
        holdout=holdout,
        settings=changed(tv_weights=(1e-4,), steps=60),
    )
    assert found.image.shape == truth.shape
    assert found.holdout_residual.shape == (2, *data.shape)
    assert float(found.holdout_loss[-1]) < 0.5 * float(found.holdout_loss[0])
    assert float((found.image - truth).square().mean()) < 0.3 * float(truth.square().mean())


def test_an_attempt_that_lags_half_way_is_given_up() -> None:
    told: list[tuple[int, Mapping[str, float]]] = []
    both = fit(
        [network()],
        network_input()[None],
        TRANSFORM,
        DATA,
        holdout=HOLDOUT,
        settings=changed(tv_weights=(0.0, 1.0)),
        on_step=lambda done, _, info: told.append((done, info)),
    )
    runs = [[done for done, info in told if info["run"] == number] for number in (1, 2, 3)]
    assert runs[0][-1] == 40
    assert 40 + 20 <= runs[1][-1] < 40 + 40
    assert runs[2][0] > 2 * 40  # the others are counted on as if it had run to its end
    assert both.image.equal(run().image)


def test_a_refit_that_did_not_settle_is_known_by_its_misfit() -> None:
    settled, unsettled = run(changed(refit_steps=40)), run(changed(refit_steps=2, learning_rate=0.3, steps=100))
    assert settled.refit_misfit < 1.1
    residual = (DATA - TRANSFORM(unsettled.full_image))[HOLDOUT.fitted[0]]
    before = unsettled.loss[unsettled.steps == unsettled.chosen_steps[0]]
    assert unsettled.refit_misfit == pytest.approx(float(residual.square().mean().sqrt() / before), rel=1e-3)
    assert run(changed(refit_steps=0)).refit_misfit == pytest.approx(1, rel=1e-3)
