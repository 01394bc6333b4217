from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from design import (
    DIAGONAL_INFORMATION_GAIN,
    EXPECTED_SQUARED_ERROR,
    INFORMATION_GAIN,
    REGION_GAIN,
    Candidates,
    CandidateViews,
    Constraints,
    Cost,
    Criterion,
    GreedySelection,
    ImageCovariance,
    StoppingRule,
    Wedge,
    sampled_covariance,
)
from operators import GaussianNoise
from tests.design.scene import (
    ANGLES,
    CANDIDATES,
    N_PIXELS,
    N_VIEWS,
    PARALLEL,
    REGION,
    SHAPE,
    covariance,
    full,
    given,
    information,
    noise,
    posterior,
    rays,
    views,
)
from tests.dip.dense import generator, randn

CRITERIA = (INFORMATION_GAIN, DIAGONAL_INFORMATION_GAIN, EXPECTED_SQUARED_ERROR, REGION_GAIN)
CONSTRAINTS = st.builds(
    Constraints,
    forbidden=st.lists(st.builds(lambda start, width: Wedge(start, start + width), st.floats(0, 3), st.floats(0, 1)),
                       max_size=1).map(tuple),
    min_separation_rad=st.floats(0, 0.9),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@for_all(
    seed=st.integers(0, 1_000), n_views=st.integers(1, 6), criterion=st.sampled_from(CRITERIA), limits=CONSTRAINTS,
    exposures=st.lists(st.sampled_from([1.0, 2.0, 3.5]), min_size=N_VIEWS, max_size=N_VIEWS),
    residual=st.sampled_from([0.0, 0.2]),
)  # fmt: skip
def test_lazy_selection_is_the_plain_one(
    seed: int, n_views: int, criterion: Criterion, limits: Constraints, exposures: list[float], residual: float
) -> None:
    plain, lazy = (
        GreedySelection(criterion=criterion, constraints=limits, cost=Cost(exposure=tuple(exposures)), lazy=flag)(
            views(seed, residual=residual), n_views
        )
        for flag in (False, True)
    )
    assert lazy.indices == plain.indices
    assert lazy.stopped == plain.stopped
    torch.testing.assert_close(lazy.scores, plain.scores, rtol=1e-10, atol=0)
    assert lazy.n_scored <= plain.n_scored


def test_lazy_selection_leaves_candidates_unscored() -> None:
    assert GreedySelection(criterion=INFORMATION_GAIN)(views(), 6).n_scored < 33
    assert GreedySelection(criterion=INFORMATION_GAIN, lazy=False)(views(), 6).n_scored == 8 + 7 + 6 + 5 + 4 + 3


@pytest.mark.parametrize("criterion", [REGION_GAIN, INFORMATION_GAIN])
def test_every_candidate_is_scored_where_scores_may_rise(criterion: Criterion) -> None:
    if criterion is REGION_GAIN:
        assert GreedySelection(criterion=criterion)(views(), 6).n_scored == 8 + 7 + 6 + 5 + 4 + 3
    turning = GreedySelection(criterion=criterion, cost=Cost(per_radian=1.0))
    assert turning(views(), 2).n_scored == 15
    drawn = CandidateViews(sampled_covariance(posterior(), 99, generator=generator()), CANDIDATES, GaussianNoise(0.1))
    assert GreedySelection(criterion=criterion)(drawn, 2).n_scored == 15


@settings(max_examples=40, deadline=None)
@for_all(seed=st.integers(0, 200))
def test_each_view_is_the_best_given_those_before(seed: int) -> None:
    errors = noise(seed)
    plan = GreedySelection(criterion=INFORMATION_GAIN)(views(seed), 3)
    for step, chosen in enumerate(plan.indices):
        image = given(full(covariance(seed)), list(plan.indices[:step]), errors)
        left = [index for index in range(N_VIEWS) if index not in plan.indices[:step]]
        gains = {index: information(image, [index], errors) for index in left}
        assert chosen == max(gains, key=gains.__getitem__)
        assert float(plan.scores[step]) == pytest.approx(gains[chosen], rel=1e-8)
        std = float(image.diagonal()[REGION.flatten()].mean().sqrt())
        assert float(plan.region_std[step]) == pytest.approx(std, rel=1e-8)
    assert plan.ids == tuple(CANDIDATES.ids[index] for index in plan.indices)
    assert plan.stopped is None


@settings(max_examples=20, deadline=None)
@for_all(seed=st.integers(0, 200), n_views=st.integers(1, 3))
def test_no_set_of_views_tells_much_more(seed: int, n_views: int) -> None:
    """Nemhauser, Wolsey & Fisher 1978: 1 - 1/e of the best; exactly the best for one view."""
    plan = GreedySelection(criterion=INFORMATION_GAIN)(views(seed), n_views)
    image, errors = full(covariance(seed)), noise(seed)
    best = max(information(image, list(chosen), errors) for chosen in itertools.combinations(range(N_VIEWS), n_views))
    share = 1.0 if n_views == 1 else 1 - 1 / math.e
    assert share * best - 1e-9 <= float(plan.scores.sum()) <= best + 1e-9


def test_where_views_tell_nothing_of_each_other_the_greedy_set_is_the_best_of_all() -> None:
    # Images so uncertain along three views' rays only, orthogonalised, that their gains add up.
    basis = torch.linalg.qr(torch.cat([rays(index)[2:4] for index in (0, 3, 6)]).mT).Q
    image = ImageCovariance(
        SHAPE, basis * torch.tensor([3.0, 3, 2, 2, 1, 1]).double(), torch.zeros(N_PIXELS, dtype=torch.float64)
    )
    errors = GaussianNoise(1e-3)
    some = Candidates(PARALLEL.select([0, 3, 6]))
    plan = GreedySelection(criterion=EXPECTED_SQUARED_ERROR)(CandidateViews(image, some, errors), 2)
    found = sorted(plan.indices)
    traces = {}
    for pair in itertools.combinations(range(3), 2):
        seen = torch.cat([rays([0, 3, 6][index]) for index in pair])
        traces[pair] = float((seen @ full(image) @ seen.mT).trace())
    assert tuple(found) == max(traces, key=traces.__getitem__)


def test_a_batch_does_not_choose_the_same_twice() -> None:
    """Two candidates with the same rays but for the detector's direction: the second tells what is known."""
    mirrored = Candidates(
        type(PARALLEL)(
            grid=PARALLEL.grid, angles_rad=(*ANGLES[:3], ANGLES[0] + math.pi), n_detectors=PARALLEL.n_detectors
        )
    )
    image = covariance()
    direction = randn(N_PIXELS, 1, seed=9)
    along = rays(0).mT @ rays(0) @ direction
    image = ImageCovariance(SHAPE, torch.cat([image.factor, 5 * along / along.norm()], 1), image.residual)
    plan = GreedySelection(criterion=INFORMATION_GAIN)(CandidateViews(image, mirrored, GaussianNoise(0.01)), 3)
    assert len({0, 3} & set(plan.indices)) == 1


@settings(max_examples=40, deadline=None)
@for_all(seed=st.integers(0, 100), limits=CONSTRAINTS, criterion=st.sampled_from(CRITERIA))
def test_constraints_are_never_violated(seed: int, limits: Constraints, criterion: Criterion) -> None:
    taken = (ANGLES[2], 1.0)
    plan = GreedySelection(criterion=criterion, constraints=limits)(views(seed), 8, taken_rad=taken, excluded=[5])
    assert 5 not in plan.indices
    assert 2 not in plan.indices
    for step, angle in enumerate(plan.angles_rad.tolist()):
        for wedge in limits.forbidden:
            assert not any(wedge.start_rad <= angle + turn * math.pi <= wedge.stop_rad for turn in (-1, 0, 1))
        for other in (*taken, *plan.angles_rad.tolist()[:step]):
            apart = abs(angle - other) % math.pi
            assert min(apart, math.pi - apart) >= limits.min_separation_rad - 1e-8
    if len(plan.indices) < 8:
        assert plan.stopped == "no candidate of 8 is left that the constraints allow"


def test_dear_views_must_promise_more() -> None:
    first = GreedySelection(criterion=INFORMATION_GAIN)(views(), 1)
    exposures = [1.0] * N_VIEWS
    exposures[first.indices[0]] = 100.0
    dear = GreedySelection(criterion=INFORMATION_GAIN, cost=Cost(exposure=tuple(exposures)))(views(), N_VIEWS)
    assert dear.indices[-1] == first.indices[0]
    # With travel at almost any price the motor goes to its neighbour, and on from there.
    near = GreedySelection(criterion=INFORMATION_GAIN, cost=Cost(exposure=1e-3, per_radian=1e6))
    assert near(views(), 3, present_rad=ANGLES[4] + 0.15).indices[0] == 4
    assert near(views(), 3, taken_rad=(ANGLES[0],), present_rad=ANGLES[0]).indices == (1, 2, 3)


def test_equal_scores_are_settled_by_the_angle() -> None:
    for order in ([0, 1, 2], [2, 1, 0]):
        blank = ImageCovariance(SHAPE, torch.zeros(N_PIXELS, 1).double(), torch.zeros(N_PIXELS).double())
        some = Candidates(PARALLEL.select(order))
        plan = GreedySelection(criterion=INFORMATION_GAIN)(CandidateViews(blank, some, GaussianNoise(1.0)), 3)
        assert plan.angles_rad.tolist() == list(ANGLES[:3])


def test_it_stops_when_the_rule_says_so() -> None:
    whole = GreedySelection(criterion=INFORMATION_GAIN)(views(), 8)

    def stopped(rule: StoppingRule) -> tuple[int, str | None]:
        plan = GreedySelection(criterion=INFORMATION_GAIN, stopping=rule)(views(), 8, taken_rad=(1.0,))
        return len(plan.indices), plan.stopped

    assert stopped(StoppingRule(max_views=4)) == (3, "4 views are the 4 allowed")
    n_chosen, reason = stopped(StoppingRule(target_std=float(whole.region_std[3]) + 1e-9))
    assert n_chosen == 3
    assert "at its target" in str(reason)
    n_chosen, reason = stopped(StoppingRule(min_score=float(whole.scores[5]) + 1e-9))
    assert n_chosen == 5
    assert "the best view left promises" in str(reason)


def test_no_views_are_no_request() -> None:
    with pytest.raises(ValueError, match="n_views must be at least 1, got 0"):
        GreedySelection(criterion=INFORMATION_GAIN)(views(), 0)
