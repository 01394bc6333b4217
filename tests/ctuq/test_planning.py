"""Plans from reconstructions: what is chosen, what is refused, and how far a plan is to be trusted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ctuq import plan
from ctuq.config import DesignConfig
from ctuq.criteria import CRITERIA
from ctuq.errors import InputError
from ctuq.result_file import read_result
from tests.ctuq.fake_planning import N_DETECTORS, SIZE, gaussian_reconstruction, scan_of

MEASURED = (0.0, 45.0, 90.0, 135.0)


def degrees(angles_rad: torch.Tensor) -> list[float]:
    return [round(angle, 6) for angle in np.degrees(angles_rad.numpy()).tolist()]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_best_candidate_comes_first_and_no_measured_view_again(criterion: str) -> None:
    found = plan(gaussian_reconstruction(scan_of(MEASURED)), candidates=36, n_angles=6, criterion=criterion)
    chosen = degrees(found.angles_rad)
    assert len(set(chosen)) == 6
    assert not set(chosen) & set(MEASURED)
    assert degrees(found.candidates_rad) == [5.0 * view for view in range(36)]
    free = [score for angle, score in zip(degrees(found.candidates_rad), found.candidate_scores, strict=True)
            if angle not in MEASURED]  # fmt: skip
    assert float(found.scores[0]) == pytest.approx(float(max(free)))
    assert (found.region_std.diff() < 0).all()
    assert float(found.promised_fall[-1]) == pytest.approx(1 - float(found.region_std[-1] / found.region_std[0]))
    assert sorted(found.order.tolist()) == list(range(6))
    assert found.notes == ()


def test_what_was_promised_is_what_measuring_gives() -> None:
    before = gaussian_reconstruction(scan_of(MEASURED))
    found = plan(before, candidates=36, n_angles=3)
    after = gaussian_reconstruction(scan_of([*MEASURED, *degrees(found.angles_rad)]))
    assert float(found.region_std[0]) == pytest.approx(float(before.std.square().mean().sqrt()), rel=1e-5)
    assert float(found.region_std[-1]) == pytest.approx(float(after.std.square().mean().sqrt()), rel=1e-5)


def test_a_number_of_candidates_goes_once_round_what_the_beam_can_tell_apart() -> None:
    parallel = plan(gaussian_reconstruction(scan_of(MEASURED)), candidates=10, n_angles=1)
    fan = plan(gaussian_reconstruction(scan_of(MEASURED, fan=True)), candidates=10, n_angles=1)
    assert degrees(parallel.candidates_rad) == [18.0 * view for view in range(10)]
    assert degrees(fan.candidates_rad) == [36.0 * view for view in range(10)]


@pytest.mark.parametrize("endless", [True, False])
def test_scores_before_and_after_the_choice_are_per_exposure_where_turning_costs(endless: bool) -> None:
    before = gaussian_reconstruction(scan_of(MEASURED, fan=True))
    free = plan(before, candidates=36, n_angles=1)
    settings = DesignConfig(turning_cost=0.1, endless=endless)
    found = plan(before, candidates=36, n_angles=1, settings=settings, present_rad=math.radians(350))
    assert (free.unit, found.unit) == ("nat", "nat per exposure")
    travel = [10 * min(35 - i, i + 1) if endless and i < 17 else 10 * abs(35 - i) for i in range(36)]
    price = 1 + 0.1 * torch.tensor(travel, dtype=torch.float64)
    torch.testing.assert_close(found.candidate_scores, free.candidate_scores / price)
    (at,) = np.flatnonzero(np.isclose(found.candidates_rad, found.angles_rad[0]))
    assert float(found.scores[0]) == pytest.approx(float(found.candidate_scores[at]))


def test_a_region_is_what_counts() -> None:
    found = gaussian_reconstruction(scan_of(MEASURED))
    corner = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    corner[:3, :3] = True
    planned = plan(found, candidates=36, n_angles=1, criterion="roi", roi=corner)
    assert float(planned.region_std[0]) == pytest.approx(float(found.std[corner].square().mean().sqrt()), rel=1e-5)
    whole = plan(found, candidates=36, n_angles=1, criterion="roi")
    assert degrees(planned.angles_rad) != degrees(whole.angles_rad)


def test_constraints_and_limits_are_the_configurations() -> None:
    found = gaussian_reconstruction(scan_of(MEASURED))
    settings = DesignConfig(forbidden_deg=((20, 180),), max_views=6)
    planned = plan(found, candidates=36, n_angles=3, settings=settings)
    assert max(degrees(planned.angles_rad)) < 20
    assert len(planned.angles_rad) == 2
    assert planned.notes == ("2 of 3 views: 6 views are the 6 allowed",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "best"}, "expected a criterion among eig, diagonal-eig, ese, roi, got 'best'"),
        ({"candidates": 12, "n_angles": 9}, "at least 9 candidates to choose from, got 8 of 12"),
        ({"candidates": 0}, "at least 1 candidate"),
        ({"candidates": [0.1, 0.1]}, "more than once"),
        ({"candidates": [0.1, math.nan]}, "finite"),
        ({"n_angles": 0}, "at least 1 view"),
        ({"roi": torch.zeros(SIZE, SIZE, dtype=torch.bool)}, "an empty one"),
        ({"roi": torch.ones(3, 3, dtype=torch.bool)}, r"region must be \(12, 12\) bool"),
        ({"settings": DesignConfig(forbidden_deg=((20, 10),))}, "runs forwards"),
        ({"settings": DesignConfig(min_separation_deg=60)}, "got 0 of 36"),
    ],
)
def test_a_wrong_request_says_what_was_expected(arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"candidates": 36, "n_angles": 1} | arguments
    with pytest.raises(InputError, match=message):
        plan(gaussian_reconstruction(scan_of(MEASURED)), **given)  # type: ignore[arg-type]


def test_a_plan_from_a_file_is_the_plan_of_the_draws_in_it(tmp_path: Path) -> None:
    made = gaussian_reconstruction(scan_of(MEASURED, fan=True), n_samples=400, smooth=True)
    read = read_result(made.save(tmp_path / "r.h5"))
    planned = plan(read, candidates=24, n_angles=2)
    again = plan(replace(made, posterior=None), candidates=24, n_angles=2)
    assert torch.equal(planned.angles_rad, again.angles_rad)
    torch.testing.assert_close(planned.scores, again.scores)
    assert planned.notes == ()
    exact = plan(made, candidates=24, n_angles=2)
    # 400 draws know a variance to √(2/400), and the root mean square of many better.
    assert float(planned.region_std[0] / exact.region_std[0]) == pytest.approx(1, abs=0.05)


def test_noise_of_candidates_survives_the_file_where_it_was_stated(tmp_path: Path) -> None:
    variance = torch.linspace(1e-4, 9e-4, N_DETECTORS).expand(len(MEASURED), N_DETECTORS)
    made = gaussian_reconstruction(scan_of(MEASURED, noise_variance=variance))
    stated = read_result(made.save(tmp_path / "stated.h5")).rays
    plain = read_result(gaussian_reconstruction(scan_of(MEASURED)).save(tmp_path / "plain.h5")).rays
    assert stated is not None
    assert plain is not None
    torch.testing.assert_close(stated.noise_of_a_view.variance, variance[:1].double())
    assert plain.noise_of_a_view.variance == pytest.approx(1e-4)


def test_a_plan_from_few_draws_ends_with_them_and_says_how_many_are_enough(tmp_path: Path) -> None:
    made = gaussian_reconstruction(scan_of(MEASURED), n_samples=16)
    found = plan(read_result(made.save(tmp_path / "r.h5")), candidates=36, n_angles=4)
    about_the_image = (made.samples - made.image).square().mean().sqrt()
    assert float(found.region_std[0]) == pytest.approx(float(about_the_image), rel=1e-5)
    assert len(found.angles_rad) == len(found.scores) == 2
    (note,) = found.notes
    for words in ("2 of 4 views: of 16 draws", "too few to choose by", "ctuq plan disc.h5"):
        assert words in note
    enough = int(note.split("posterior.kept_samples=")[1].split(",")[0])
    again = gaussian_reconstruction(scan_of(MEASURED), n_samples=enough).save(tmp_path / "enough.h5")
    whole = plan(read_result(again), candidates=36, n_angles=4)
    assert (len(whole.angles_rad), whole.notes) == (4, ())


def test_fresh_draws_that_are_too_few_are_the_settings_to_change() -> None:
    settings = DesignConfig(exact_pixels=100, n_draws=20)
    found = plan(gaussian_reconstruction(scan_of(MEASURED)), candidates=36, n_angles=4, settings=settings)
    assert 1 <= len(found.angles_rad) < 4
    assert "design.n_draws=56, which is enough for all" in found.notes[0]


def test_draws_take_over_beyond_the_size_that_is_exact() -> None:
    made = gaussian_reconstruction(scan_of(MEASURED))
    told: list[tuple[str, int, int]] = []
    settings = DesignConfig(exact_pixels=100, n_draws=500)
    found = plan(
        made, candidates=36, n_angles=1, settings=settings, on_step=lambda *step: told.append((step[0], *step[1:3]))
    )
    assert ("covariance", 500, 500) in told
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["covariance", "score", "choose"]
    assert not torch.equal(found.scores, plan(made, candidates=36, n_angles=1).scores)
    again = plan(made, candidates=36, n_angles=1, settings=settings)
    assert torch.equal(found.scores, again.scores)
    assert not torch.equal(found.scores, plan(made, candidates=36, n_angles=1, settings=settings, seed=1).scores)


def test_a_file_without_rays_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match="ctuq plan SCAN"):
        plan(replace(gaussian_reconstruction(scan_of(MEASURED)), rays=None), candidates=36, n_angles=1)
