from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from design import (
    EXPECTED_SQUARED_ERROR,
    INFORMATION_GAIN,
    AnglePlanner,
    Candidates,
    CandidateViews,
    Constraints,
    GreedySelection,
    ImageBelief,
    ImageCovariance,
    PlannerSettings,
    PlannerState,
    PointFormat,
    StoppingRule,
    drawn_covariance,
    exact_covariance,
    motor_order,
    view_id,
)
from dip import DensePosterior
from operators import GaussianNoise, ParallelBeam, RayTransform
from tests.design.scene import ANGLES, CANDIDATES, GRID, N_DETECTORS, N_PIXELS, PARALLEL, SHAPE
from tests.dip.dense import randn

IMAGE = randn(*SHAPE, seed=31)
WHITE = GaussianNoise(0.05)
SELECTION = GreedySelection(criterion=INFORMATION_GAIN)
PILOTS = (0, 4)


class ExactModel:
    """Gaussian regression about an image of zeros; what it learns of the data is its prior's size."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []

    def __call__(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None = None) -> ImageBelief:
        self.calls.append(angles_rad.tolist())
        geometry = ParallelBeam(grid=GRID, angles_rad=angles_rad, n_detectors=N_DETECTORS)
        size = float(sinogram.square().mean().sqrt())
        prior = size * randn(N_PIXELS, N_PIXELS, seed=8) / math.sqrt(N_PIXELS)
        posterior = DensePosterior(RayTransform(geometry), prior, noise=WHITE, mean=torch.zeros(SHAPE).double())
        return ImageBelief(exact_covariance(posterior), WHITE)


class DrawingModel(ExactModel):
    """The same by so many draws."""

    def __init__(self, n_draws: int) -> None:
        super().__init__()
        self._n_draws = n_draws

    def __call__(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None = None) -> ImageBelief:
        covariance, noise = super().__call__(angles_rad, sinogram, noise_variance)
        draws = (covariance.factor @ randn(N_PIXELS, self._n_draws, seed=5)).mT.reshape(-1, *SHAPE)
        return ImageBelief(drawn_covariance(draws, torch.zeros(SHAPE, dtype=torch.float64)), noise)


def projection(angle_rad: float) -> list[float]:
    line_integrals: list[float] = CANDIDATES.view_at(angle_rad)(IMAGE)[0].tolist()
    return line_integrals


def at(index: int) -> dict[str, Any]:
    """A candidate measured without having been asked for."""
    return {"angle_deg": math.degrees(ANGLES[index]), "projection": projection(ANGLES[index])}


def answer(point: Mapping[str, Any]) -> dict[str, Any]:
    return {"_id": point["_id"], "projection": projection(math.radians(point["angle_deg"]))}


def planner(
    *,
    model: ExactModel | None = None,
    selection: GreedySelection = SELECTION,
    pilots: tuple[int, ...] = PILOTS,
    settings: PlannerSettings | None = None,
    store: Callable[[PlannerState], None] | None = None,
) -> AnglePlanner:
    made = AnglePlanner(CANDIDATES, model or ExactModel(), selection, settings=settings, store=store)
    made.ingest([at(index) for index in pilots])
    return made


def ids(points: list[dict[str, Any]]) -> list[str]:
    return [point["_id"] for point in points]


def test_suggestions_are_the_greedy_ones_given_what_was_told() -> None:
    belief = ExactModel()(
        torch.tensor([ANGLES[0], ANGLES[4]]), torch.tensor([projection(ANGLES[0]), projection(ANGLES[4])])
    )
    views = CandidateViews(belief.covariance, CANDIDATES, belief.noise)
    plan = SELECTION(views, 6, taken_rad=[ANGLES[0], ANGLES[4]])
    asked = planner()
    present_rad = asked.state.present_rad
    points = asked.suggest(6)
    assert sorted(ids(points)) == sorted(plan.ids)
    promised = dict(zip(plan.ids, plan.scores.tolist(), strict=True))
    for point in points:
        assert point["score"] == pytest.approx(promised[point["_id"]], rel=1e-6)
        assert view_id(math.radians(point["angle_deg"])) == point["_id"]
    # By least travel from the last pilot, and not as they were chosen.
    travel = [plan.ids[i] for i in motor_order(plan.angles_rad.tolist(), present_rad)]
    assert present_rad == pytest.approx(ANGLES[4])
    assert ids(points) == travel != list(plan.ids)


def test_draws_that_are_used_up_end_a_suggestion_and_are_drawn_anew_once_it_was_told() -> None:
    model = DrawingModel(12)
    made = planner(model=model)
    points = made.suggest(6)
    assert 0 < len(points) < 6
    reason = made.held_back or ""
    assert reason.startswith("of 12 draws")
    assert reason.endswith("tell what is open first")
    assert made.suggest() == []
    made.ingest([answer(point) for point in points])
    assert len(made.suggest()) == 1
    assert made.held_back is None
    assert [len(call) for call in model.calls] == [2, 2 + len(points)]  # long before five views are new
    assert made.stop_reason() is None


def test_noise_goes_to_the_model_and_counts_before_it_is_fitted() -> None:
    given: list[Tensor | None] = []

    class Listening(ExactModel):
        def __call__(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None = None) -> ImageBelief:
            given.append(noise_variance)
            return super().__call__(angles_rad, sinogram)

    deviations = []
    for variance in (0.5, 2.0, 8.0):
        made = planner(model=Listening(), pilots=())
        made.ingest([{**at(index), "noise_variance": [2.0] * N_DETECTORS} for index in PILOTS])
        (asked,) = made.suggest()
        promised = made.promised_std()
        made.ingest([{**answer(asked), "noise_variance": [variance] * N_DETECTORS}])
        deviations.append(made.region_std())
    assert deviations[0] < deviations[1] < deviations[2]
    assert deviations[1] == pytest.approx(promised, rel=1e-9)
    for variances in given:
        assert variances is not None
        assert variances.tolist() == [[2.0] * N_DETECTORS] * len(PILOTS)


@pytest.mark.parametrize(
    ("variance", "message"), [([1.0], "must be stated for 6"), ([0.0] * 6, "positive"), ([math.nan] * 6, "finite")]
)
def test_variances_that_are_none_are_refused(variance: list[float], message: str) -> None:
    made = planner()
    with pytest.raises(ValueError, match=message):
        made.ingest([{**at(2), "noise_variance": variance}])
    assert len(made.state.measured) == len(PILOTS)


def test_one_by_one_suggestions_are_those_of_a_batch() -> None:
    one_by_one = planner()
    single = [one_by_one.suggest()[0] for _ in range(3)]
    assert sorted(ids(single)) == sorted(ids(planner().suggest(3)))


def test_the_posterior_is_made_anew_after_every_few_views_and_asked_for_late() -> None:
    model = ExactModel()
    made = planner(model=model, settings=PlannerSettings(refit_every=2))
    assert model.calls == []
    for expected in (1, 1, 2, 2, 3):
        point = made.suggest()[0]
        assert len(model.calls) == expected
        made.ingest([answer(point)])
    assert [len(call) for call in model.calls] == [2, 4, 6]
    assert all(call == sorted(call) for call in model.calls)


def test_between_two_posteriors_the_last_is_conditioned() -> None:
    made = planner()
    made.suggest(2)
    made.ingest([answer(point) for point in made.suggest(1)])
    fresh = ExactModel()
    belief = fresh(torch.tensor([ANGLES[0], ANGLES[4]]), torch.tensor([projection(ANGLES[0]), projection(ANGLES[4])]))
    views = CandidateViews(belief.covariance, CANDIDATES, belief.noise)
    extra = next(view for view in made.state.measured if view.origin == "suggested")
    index = CANDIDATES.index_of(extra.id)
    assert index is not None
    assert made.region_std() == pytest.approx(views.observing(index).region_std(), rel=1e-6)
    assert len(made.state.measured) == 3


@settings(max_examples=15, deadline=None)
@for_all(order=st.permutations(range(4)), apart=st.booleans())
def test_the_order_of_telling_does_not_matter(order: list[int], *, apart: bool) -> None:
    expected, other = planner(), planner()
    answers = [answer(point) for point in expected.suggest(4)]
    other.suggest(4)
    expected.ingest(answers)
    for index in order if apart else []:
        other.ingest([answers[index]])
    other.ingest([answers[index] for index in order])
    assert other.state == expected.state
    assert ids(other.suggest(2)) == ids(expected.suggest(2))


def test_a_view_that_is_still_open_is_counted_on() -> None:
    made = planner()
    first = made.suggest(2)
    made.ingest([answer(first[1])])
    following = made.suggest(2)
    assert not set(ids(first)) & set(ids(following))
    assert [suggestion.id for suggestion in made.state.open] == [first[0]["_id"], *ids(following)]


def test_a_new_posterior_replaces_all_that_was_derived_from_the_old_one() -> None:
    made = planner(settings=PlannerSettings(refit_every=1))
    waiting = made.suggest(2)
    made.ingest([at(7)])
    made.region_std()
    resumed = AnglePlanner.from_checkpoint(made.state, CANDIDATES, ExactModel(), SELECTION)
    expected, found = resumed.suggest(2), made.suggest(2)
    assert [point["score"] for point in found] == pytest.approx([point["score"] for point in expected], rel=1e-9)
    assert len(waiting) == 2


def test_a_failed_view_is_tried_again_and_then_given_up() -> None:
    made = planner(settings=PlannerSettings(retries=1))
    point = made.suggest()[0]
    made.register_failures([point])
    assert made.suggest()[0]["_id"] == point["_id"]
    made.register_failures([point])
    seen = ids(made.suggest(8))
    assert point["_id"] not in seen
    assert len(seen) == 8 - 2 - 1
    # Data that come after all are welcome.
    made.ingest([answer(point)])
    assert point["_id"] in {view.id for view in made.state.measured}
    with pytest.raises(ValueError, match="only what was suggested can fail"):
        made.register_failures([{"_id": "view-000.0000"}])


def test_a_view_nobody_suggested_is_taken_in_and_named() -> None:
    made = planner()
    made.suggest()
    stray = {"_id": "baseline", "angle_deg": 77.7, "projection": projection(math.radians(77.7))}
    made.ingest([stray, at(7)])
    assert made.unplanned == ("view-077.7000", CANDIDATES.ids[7])
    assert CANDIDATES.ids[7] not in ids(made.suggest(8))
    assert {view.origin for view in made.state.measured} == {"pilot", "unplanned"}
    assert made.region_std() < planner().region_std()


def test_a_motor_that_stops_beside_a_candidate_has_measured_it() -> None:
    made = planner()
    point = made.suggest()[0]
    made.ingest([{**answer(point), "angle_deg": point["angle_deg"] + 0.04}])
    told = next(view for view in made.state.measured if view.id == point["_id"])
    assert math.degrees(told.angle_rad) == pytest.approx(point["angle_deg"] + 0.04)
    assert point["_id"] not in ids(made.suggest(8))


def test_somebody_elses_plan_is_counted_on_as_well() -> None:
    made = planner()
    named = made.register_suggestions([{"angle_deg": math.degrees(ANGLES[6]), "colour": "red"}, {"angle_deg": 12.0}])
    assert named[0] == {"angle_deg": math.degrees(ANGLES[6]), "colour": "red", "_id": CANDIDATES.ids[6]}
    assert CANDIDATES.ids[6] not in ids(made.suggest(8))
    made.ingest([{"_id": named[1]["_id"], "projection": projection(math.radians(12.0))}])
    assert made.unplanned == ()
    with pytest.raises(ValueError, match="angle in degrees as 'angle_deg'"):
        made.register_suggestions([{"angle": 3.0}])


GOOD = {"projection": projection(ANGLES[1])}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"_id": "nobody", **GOOD}, "expected the _id of a candidate or an angle as 'angle_deg'"),
    ({"_id": CANDIDATES.ids[1]}, "expected line integrals as 'projection'"),
    ({"_id": CANDIDATES.ids[1], "projection": [0.0] * 5}, r"must have 6 detector pixels, got \(5,\)"),
    ({"_id": CANDIDATES.ids[1], "projection": [math.nan] + [0.0] * 5}, "must be finite, got 1 that are not"),
    ({"angle_deg": math.inf, **GOOD}, "angle_deg must be finite"),
    ({"_id": CANDIDATES.ids[1], "angle_deg": 50.0, **GOOD}, "measured at 50 degrees, but view-028.2296 is at 28.2296"),
    ({**at(0), "projection": [1.0] * 6}, "told before with other line integrals"),
]


@pytest.mark.parametrize(("point", "message"), BAD)
def test_one_bad_point_and_nothing_is_taken_in(point: dict[str, Any], message: str) -> None:
    made = planner()
    before = made.state
    with pytest.raises(ValueError, match=message):
        made.ingest([at(3), point])
    assert made.state is before


def test_telling_the_same_twice_changes_nothing() -> None:
    made = planner()
    with pytest.raises(ValueError, match="told before"):
        made.ingest([at(5), {**at(5), "projection": [1.0] * 6}])
    made.ingest([at(5), at(5)])
    before = made.state
    made.ingest([at(5), at(0)])
    assert made.state == before


def test_planning_needs_a_measured_view_and_a_number() -> None:
    bare = AnglePlanner(CANDIDATES, ExactModel(), SELECTION)
    with pytest.raises(ValueError, match="ingest a few pilot views first"):
        bare.suggest()
    assert not bare.should_stop()
    with pytest.raises(ValueError, match="n_views must be at least 1"):
        planner().suggest(0)


def test_where_no_candidate_is_left_nothing_is_suggested() -> None:
    made = planner()
    assert len(made.suggest(10)) == 6
    assert made.suggest() == []
    assert not made.should_stop()
    made.ingest([answer({"_id": s.id, "angle_deg": math.degrees(s.angle_rad)}) for s in made.state.open])
    assert made.stop_reason() == "no candidate of 8 is left that the constraints allow"


def test_it_stops_when_measured_and_not_when_promised() -> None:
    made = planner(selection=GreedySelection(criterion=INFORMATION_GAIN, stopping=StoppingRule(max_views=4)))
    points = made.suggest(5)
    assert len(points) == 2
    assert not made.should_stop()
    made.ingest([answer(point) for point in points])
    assert made.stop_reason() == "4 views are the 4 allowed"
    reached = planner().region_std() + 1e-9
    for rule, reason in (
        (StoppingRule(target_std=reached), "at its target"),
        (StoppingRule(min_score=1e6), "the best view left promises"),
    ):
        selection = GreedySelection(criterion=INFORMATION_GAIN, stopping=rule)
        assert reason in str(planner(selection=selection).stop_reason())


def test_constraints_hold_for_what_is_open_and_measured() -> None:
    apart = GreedySelection(criterion=EXPECTED_SQUARED_ERROR, constraints=Constraints(min_separation_rad=0.5))
    made = planner(selection=apart)
    for _ in range(3):
        made.suggest()
    taken = [math.degrees(angle) for angle in (ANGLES[0], ANGLES[4])] + [
        math.degrees(suggestion.angle_rad) for suggestion in made.state.open
    ]
    for first in taken:
        for second in taken:
            distance = abs(first - second) % 180
            assert first == second or min(distance, 180 - distance) >= math.degrees(0.5)


@pytest.mark.parametrize("n_steps", range(6))
def test_a_planner_killed_after_any_step_goes_on_as_if_it_had_not_been(n_steps: int) -> None:
    kept: list[str] = []
    every = PlannerSettings(refit_every=2)
    made = planner(settings=every, store=lambda state: kept.append(json.dumps(state.as_json())))
    points: list[dict[str, Any]] = []
    steps: list[Callable[[], object]] = [
        lambda: points.extend(made.suggest(2)),
        lambda: made.ingest([answer(points[0])]),
        lambda: made.register_failures([points[1]]),
        lambda: points.extend(made.suggest(1)),
        lambda: made.ingest([answer(points[2])]),
    ]
    for step in steps[:n_steps]:
        step()
    assert made.checkpoint() == made.state
    state = PlannerState.from_json(json.loads(kept[-1]))
    resumed = AnglePlanner.from_checkpoint(state, CANDIDATES, ExactModel(), SELECTION, settings=every)
    expected, found = made.suggest(2), resumed.suggest(2)
    assert ids(found) == ids(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["score"] == pytest.approx(theirs["score"], rel=1e-9)
    assert resumed.state.fitted_ids == made.state.fitted_ids


def test_a_state_of_another_scan_is_refused_and_of_reordered_candidates_is_not() -> None:
    state = planner().state
    with pytest.raises(ValueError, match="candidates, got one in which 2 differ"):
        AnglePlanner.from_checkpoint(state, Candidates(PARALLEL.select(range(6))), ExactModel(), SELECTION)
    shuffled = Candidates(PARALLEL.select([3, 1, 7, 0, 2, 6, 5, 4]))
    resumed = AnglePlanner.from_checkpoint(state, shuffled, ExactModel(), SELECTION)
    assert ids(resumed.suggest(3)) == ids(planner().suggest(3))


def test_it_speaks_blops_protocols() -> None:
    """Methods and signatures of blop.protocols in blop 1.0, which is not installed here."""
    rig = PointFormat(axis="rotation", projection="line_integrals")
    made = AnglePlanner(CANDIDATES, ExactModel(), SELECTION, settings=PlannerSettings(points=rig))
    made.ingest([{"_id": "baseline", "rotation": 10.0, "line_integrals": projection(math.radians(10))}])
    points = made.suggest(num_points=2)
    assert all(isinstance(point["rotation"], float) and isinstance(point["_id"], str) for point in points)
    outcomes = [{"_id": p["_id"], "line_integrals": projection(math.radians(p["rotation"]))} for p in points]
    made.tell(outcomes[:1])
    made.register_failures(suggestions=points[1:])
    assert len(made.ask(None)) == 1
    best = made.get_best_points()
    assert best[0] == (points[0]["_id"], {"rotation": points[0]["rotation"]}, {"score": points[0]["score"]})
    assert len(best) == 2
    assert math.isnan(best[1][2]["score"])


def test_a_wider_detector_than_the_plans_can_be_told() -> None:
    wide = AnglePlanner(CANDIDATES, _wide_model, SELECTION, settings=PlannerSettings(projection_width=12))
    wide.ingest([{"angle_deg": 5.0, "projection": [0.5] * 12}])
    assert len(wide.suggest(2)) == 2


def _wide_model(angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None) -> ImageBelief:
    assert sinogram.shape == (len(angles_rad), 12)
    assert noise_variance is None
    factor = randn(N_PIXELS, 4, seed=2)
    return ImageBelief(ImageCovariance(SHAPE, factor, torch.zeros(N_PIXELS, dtype=torch.float64)), WHITE)


@pytest.mark.parametrize("values", [{"refit_every": 0}, {"retries": -1}])
def test_settings_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="refit_every must be at least 1 and retries 0 or more"):
        PlannerSettings(**values)  # type: ignore[arg-type]
