from __future__ import annotations

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from design import (
    Candidates,
    CandidateViews,
    ImageCovariance,
    ViewBelief,
    drawn_covariance,
    draws_for,
    exact_covariance,
    information_gain,
    sampled_covariance,
)
from dip import DensePosterior
from operators import GaussianNoise, ImageGrid, MatrixMap, ParallelBeam
from tests.design.scene import (
    CANDIDATES,
    N_DETECTORS,
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
    noise_matrices,
    own_covariance,
    rays,
    views,
)
from tests.dip.dense import conditioned, dense, generator, randn

SETS = st.lists(st.integers(0, N_VIEWS - 1), max_size=3, unique=True)


@settings(max_examples=40, deadline=None)
@for_all(seed=st.integers(0, 20), measured=SETS, shared=st.booleans())
def test_downdating_is_conditioning(seed: int, measured: list[int], *, shared: bool) -> None:
    errors = noise(seed, shared=shared)
    found = CandidateViews(covariance(seed), CANDIDATES, errors, region=REGION)
    for index in measured:
        found = found.observing(index)
    image = given(full(covariance(seed)), measured, errors)
    belief = found.belief(range(N_VIEWS))
    for index in range(N_VIEWS):
        expected = own_covariance(image, index, errors)
        torch.testing.assert_close(belief.covariance[index], expected, rtol=1e-8, atol=1e-9)
    std = float(image.diagonal()[REGION.flatten()].mean().sqrt())
    assert found.region_std() == pytest.approx(std, rel=1e-9)


@settings(max_examples=40, deadline=None)
@for_all(
    seed=st.integers(0, 20),
    asked=st.lists(st.tuples(st.integers(0, N_VIEWS - 1), st.booleans(), st.integers(0, 2)), max_size=6),
)
def test_it_does_not_matter_who_asked_for_what_in_between(seed: int, asked: list[tuple[int, bool, int]]) -> None:
    found = views(seed)
    for step, measured in enumerate((2, 6, 1)):
        for index, with_region, when in asked:
            if when == step:
                found.belief([index], with_region=with_region)
        found = found.observing(measured)
    fresh = views(seed, measured=(2, 6, 1))
    beliefs = [each.belief(range(8), with_region=True) for each in (found, fresh)]
    torch.testing.assert_close(beliefs[0].covariance, beliefs[1].covariance)
    # The region may be turned: compare what does not change by that.
    squares = [
        belief.region_covariance.square().sum(dim=2) for belief in beliefs if belief.region_covariance is not None
    ]
    torch.testing.assert_close(squares[0], squares[1])


def test_observing_leaves_the_views_before_it_as_they_were() -> None:
    before = views()
    expected = views().belief(range(8)).covariance
    after = before.observing(3)
    after.belief(range(8))
    torch.testing.assert_close(before.belief(range(8)).covariance, expected, rtol=0, atol=0)


def test_every_covariance_has_no_negative_eigenvalue_however_much_was_measured() -> None:
    # Deviations of 1e6 beside noise of 0.3: a difference of covariances would be wrong by 1e-4 in units of the noise.
    image = ImageCovariance(SHAPE, 1e6 * covariance().factor, torch.zeros(N_PIXELS, dtype=torch.float64))
    found = CandidateViews(image, CANDIDATES, noise())
    for index in range(N_VIEWS):
        found = found.observing(index)
    eigenvalues = torch.linalg.eigvalsh(found.belief(range(N_VIEWS)).covariance)
    assert float(eigenvalues.min()) > -1e-12
    # Measured once, with everything known of it: its own noise is what is left, at most.
    assert float(eigenvalues.max()) <= 1 + 1e-6


def test_a_residual_is_exact_at_first_and_a_views_own_error_after() -> None:
    image, errors = covariance(residual=0.4), noise(shared=True)
    found = CandidateViews(image, CANDIDATES, errors)
    for index in range(N_VIEWS):
        expected = own_covariance(full(image), index, errors)
        torch.testing.assert_close(found.belief([index]).covariance[0], expected)
        assert float(information_gain(found.belief([index]))) == pytest.approx(
            information(full(image), [index], errors)
        )
    # Another view that was measured tells of the factor alone, through errors that hold its residual.
    own_error = noise_matrices(errors)[2] + rays(2) @ torch.diag(image.residual) @ rays(2).mT
    left = conditioned(image.factor @ image.factor.mT, rays(2), own_error) + torch.diag(image.residual)
    after = found.observing(2)
    torch.testing.assert_close(after.belief([5]).covariance[0], own_covariance(left, 5, errors))
    assert after.region_std() == pytest.approx(float(left.diagonal().mean().sqrt()))


def test_a_view_that_is_no_candidate_is_conditioned_on_as_well() -> None:
    errors, extra = noise(), 1.2345
    single = CANDIDATES.view_at(extra)
    found = views().observing(1).observing_view(single)
    first = given(full(covariance()), [1], errors)
    image = conditioned(first, dense(single), torch.diag(torch.as_tensor(errors.of_a_view().variance)[0]))
    torch.testing.assert_close(found.belief([4]).covariance[0], own_covariance(image, 4, errors))


def test_a_candidates_own_view_is_the_same_either_way() -> None:
    white = GaussianNoise(0.2)
    image = covariance(residual=0.1)
    found = CandidateViews(image, CANDIDATES, white)
    by_index = found.observing(3).belief([0]).covariance
    by_view = found.observing_view(CANDIDATES.view_at(PARALLEL.angles_rad[3])).belief([0]).covariance
    torch.testing.assert_close(by_index, by_view)


@pytest.mark.parametrize("residual", [0.0, 0.3])
def test_a_view_that_came_out_noisier_tells_less(residual: float) -> None:
    white, louder = GaussianNoise(0.2), GaussianNoise(0.8)
    image = covariance(residual=residual)
    found = CandidateViews(image, CANDIDATES, white)
    by_index, by_view = (
        found.observing(3, noise_factor=4.0),
        found.observing_view(CANDIDATES.view_at(PARALLEL.angles_rad[3]), noise_factor=4.0),
    )
    expected = CandidateViews(image, CANDIDATES, louder).observing(3)
    for after in (by_index, by_view):
        assert after.region_std() == pytest.approx(expected.region_std(), rel=1e-9)
        torch.testing.assert_close(after.belief([0]).covariance, 4 * expected.belief([0]).covariance)


def test_draws_that_are_used_up_are_made_up_for() -> None:
    """Of 60 draws, twelve rays far above their noise use up twelve, and a fifth of the variance that is left."""
    exact = DensePosterior(
        MatrixMap(torch.zeros(1, N_PIXELS, dtype=torch.float64), in_shape=SHAPE, out_shape=(1, 1)),
        10 * torch.eye(N_PIXELS, dtype=torch.float64),
        noise=GaussianNoise(1.0),
        mean=torch.zeros(SHAPE, dtype=torch.float64),
    )
    truth = _after_two(exact_covariance(exact))
    found = [_after_two(sampled_covariance(exact, 60, generator=generator(seed))) for seed in range(100)]
    beliefs = [views.belief([5]) for views in found]
    assert all(47 < belief.n_samples < 51 for belief in beliefs)
    variance = torch.tensor([views.region_std() for views in found], dtype=torch.float64).square()
    assert abs(float(variance.mean()) - truth.region_std() ** 2) < 5 * float(variance.std()) / 10
    gains = torch.tensor([float(information_gain(belief)) for belief in beliefs], dtype=torch.float64)
    as_drawn = [ViewBelief(belief.covariance * belief.n_samples / 60) for belief in beliefs]
    plain = torch.tensor([float(information_gain(belief)) for belief in as_drawn], dtype=torch.float64)
    expected = float(information_gain(truth.belief([5])))
    # What is left of the bias is of directions that were known already, which use up nothing more.
    assert expected - float(plain.mean()) > 0.4
    assert abs(float(gains.mean()) - expected) < (expected - float(plain.mean())) / 2


@pytest.mark.parametrize("n_draws", [4, 20, 60])
def test_draws_are_used_up_by_views_and_there_can_be_enough_of_them(n_draws: int) -> None:
    n_views = 4
    found = CandidateViews(_drawn(n_draws), CANDIDATES, GaussianNoise(0.5))
    assert not found.used_up  # whatever there is, nothing has been used up yet
    for index in range(n_views - 1):
        found = found.observing(2 * index)
        assert found.used_up == (found.draws_left < min(n_draws, max(8, n_draws / 4)))
    assert found.used_up == (n_draws < 60)
    assert draws_for(n_views, N_DETECTORS) == 26  # three views of six rays leave eight
    assert draws_for(11, N_DETECTORS) == 80  # ten leave a quarter


def test_exact_covariances_are_never_used_up() -> None:
    assert not views(measured=(1, 3, 5)).used_up


def _drawn(n_draws: int) -> ImageCovariance:
    images = 10 * randn(n_draws, *SHAPE, seed=n_draws)
    return drawn_covariance(images, torch.zeros(SHAPE, dtype=torch.float64))


def _after_two(image: ImageCovariance) -> CandidateViews:
    return CandidateViews(image, CANDIDATES, GaussianNoise(0.5)).observing(1).observing(3)


def test_regions_and_grids_that_do_not_fit_are_refused() -> None:
    for region, message in (
        (torch.zeros(SHAPE, dtype=torch.bool), "an empty one"),
        (torch.ones(5, 4, dtype=torch.bool), r"region must be \(4, 5\) bool"),
        (torch.ones(SHAPE), r"region must be \(4, 5\) bool"),
    ):
        with pytest.raises(ValueError, match=message):
            CandidateViews(covariance(), CANDIDATES, noise(), region=region)
    other = Candidates(ParallelBeam(grid=ImageGrid(shape=(5, 4)), angles_rad=[0.0], n_detectors=6))
    with pytest.raises(ValueError, match=r"candidates must see images \(4, 5\), got \(5, 4\)"):
        CandidateViews(covariance(), other, noise())


def test_a_region_larger_than_the_rank_is_no_approximation() -> None:
    image = ImageCovariance(SHAPE, randn(N_PIXELS, 3), torch.zeros(N_PIXELS, dtype=torch.float64))
    found = CandidateViews(image, CANDIDATES, noise()).observing(2)
    after = given(full(image), [2], noise())
    assert found.region_std() == pytest.approx(float(after.diagonal().mean().sqrt()))
    region = found.belief([6], with_region=True).region_covariance
    assert region is not None
    cross = torch.linalg.solve(torch.linalg.cholesky(noise_matrices(noise())[6]), rays(6)) @ after
    torch.testing.assert_close(region[0] @ region[0].mT, cross @ cross.mT)
