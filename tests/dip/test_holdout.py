from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dip import Holdout, hold_out
from tests.dip.dense import generator


def views_of(rays: torch.Tensor) -> list[int]:
    return torch.nonzero(rays.any(dim=1))[:, 0].tolist()


@settings(max_examples=200, deadline=None)
@given(
    n_views=st.integers(1, 90),
    n_detectors=st.integers(1, 30),
    n_members=st.integers(1, 12),
    share=st.floats(0.02, 0.5),
    seed=st.integers(0, 99),
)
def test_no_ray_is_held_out_twice(n_views: int, n_detectors: int, n_members: int, share: float, seed: int) -> None:
    fraction = share / (n_members + 1)
    assume(n_views >= 24 or round(fraction * n_views * n_detectors) >= 2)
    assume(n_views < 24 or 2 * (n_members + 1) * max(2, round(fraction * n_views)) <= n_views)
    held = hold_out((n_views, n_detectors), fraction, n_members=n_members, generator=generator(seed))
    assert int((held.chooses.sum(dim=0) + held.judges).max()) == 1
    assert torch.equal(held.fitted, ~held.chooses & ~held.judges)
    n_rays = n_views * n_detectors
    expected = n_detectors * max(2, round(fraction * n_views)) if n_views >= 24 else round(fraction * n_rays)
    assert {int(rays.sum()) for rays in (*held.chooses, held.judges)} == {expected}
    assert held.judging_views.tolist() == views_of(held.judges)


@given(n_views=st.integers(24, 400), fraction=st.floats(0.01, 0.25), seed=st.integers(0, 99))
def test_from_24_views_on_whole_views_alternate(n_views: int, fraction: float, seed: int) -> None:
    held = hold_out((n_views, 3), fraction, generator=generator(seed))
    for rays in (held.chooses[0], held.judges):
        assert torch.equal(rays.any(dim=1), rays.all(dim=1))
    uses = sorted(
        [(view, "chooses") for view in views_of(held.chooses[0])] + [(v, "judges") for v in views_of(held.judges)]
    )
    assert [use for _, use in uses] == ["chooses", "judges"] * (len(uses) // 2)
    gaps = {second[0] - first[0] for first, second in itertools.pairwise(uses)}
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("n_views", [10, 30])
def test_a_volumes_rays_are_held_out_as_an_images_are(n_views: int) -> None:
    held = hold_out((n_views, 4, 5), 0.2, generator=generator())
    flat = hold_out((n_views, 20), 0.2, generator=generator())
    assert torch.equal(held.judges.flatten(1), flat.judges)
    assert torch.equal(held.chooses.flatten(2), flat.chooses)
    assert held.whole_views == (n_views == 30)
    assert torch.equal(held.judging_views, flat.judging_views)


def test_below_24_views_single_rays_are_drawn_from_every_part_of_the_scan() -> None:
    held = hold_out((23, 40), 0.2, generator=generator())
    assert views_of(held.judges) == views_of(held.chooses[0]) == list(range(23))
    assert not held.judges.all(dim=1).any()


@pytest.mark.parametrize("shape", [(30, 5), (10, 20)])
def test_the_generator_decides(shape: tuple[int, int]) -> None:
    def draw(seed: int) -> Holdout:
        return hold_out(shape, 0.1, generator=generator(seed))

    assert torch.equal(draw(1).judges, draw(1).judges)
    assert any(not torch.equal(draw(1).judges, draw(seed).judges) for seed in range(2, 12))


def test_the_largest_draw_stays_in_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    # In float32 the last place rounds up to the number of views, once in a million seeds.
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(1 - 2.0**-24))
    held = hold_out((24, 2), 0.25, generator=generator())
    assert len(views_of(held.judges)) == len(views_of(held.chooses[0])) == 6


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.26, float("nan")])
def test_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"at most half of the rays in all, got 2 .*: hold out at most 0\.25"):
        hold_out((30, 30), fraction, generator=generator())


def test_too_few_rays_to_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="of 10 rays is fewer than 2"):
        hold_out((2, 5), 0.1, generator=generator())


@pytest.mark.parametrize(("n_members", "fraction"), [(12, 0.03), (6, 0.05)])
def test_more_than_half_of_the_views_are_not_held_out(n_members: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="at most half of all, got 24 views: have fewer members"):
        hold_out((24, 5), fraction, n_members=n_members, generator=generator())


@pytest.mark.parametrize("shape", [(40, 9), (10, 30)], ids=["views", "rays"])
def test_masked_rays_neither_choose_nor_judge_nor_are_fitted(shape: tuple[int, int]) -> None:
    masked = torch.rand(shape, generator=generator(5)) < 0.2
    masked[[3, 7]] = True
    held = hold_out(shape, 0.12, n_members=2, masked=masked, generator=generator(0))
    for rays in (*held.chooses, held.judges, *held.fitted):
        assert rays.any()
        assert not (rays & masked).any()
    assert (held.fitted | held.chooses | held.judges | masked).all()
    assert held.whole_views == (shape[0] == 40)


def test_masks_that_hide_nothing_change_nothing() -> None:
    for shape in ((40, 9), (10, 30)):
        plain = hold_out(shape, 0.12, generator=generator(0))
        masked = hold_out(shape, 0.12, masked=torch.zeros(shape, dtype=torch.bool), generator=generator(0))
        assert plain.chooses.equal(masked.chooses)
        assert plain.judges.equal(masked.judges)


def test_a_masked_ray_that_judges_is_refused() -> None:
    rays = torch.zeros(3, 4, dtype=torch.bool)
    rays[1, 2] = True
    with pytest.raises(ValueError, match="some that are masked"):
        Holdout(torch.zeros(1, 3, 4, dtype=torch.bool), rays, rays)


@pytest.mark.parametrize("shape", [(40, 9), (10, 30), (40, 3, 4)], ids=["views", "rays", "volume"])
def test_other_masks_leave_the_same_views_held_out(shape: tuple[int, ...]) -> None:
    here, there = (torch.rand(shape, generator=generator(seed)) < 0.2 for seed in (5, 6))
    held = hold_out(shape, 0.12, n_members=2, masked=here, generator=generator(0))
    found = held.with_masked(there)
    for before, after in zip((*held.chooses, held.judges), (*found.chooses, found.judges), strict=True):
        assert not (after & there).any()
        if held.whole_views:
            views = before.flatten(1).any(dim=1)
            assert after.equal(views.reshape(-1, *[1] * (len(shape) - 1)) & ~there)
        else:
            assert after.equal(before & ~there)
    assert found.whole_views == held.whole_views == (shape[0] == 40)
    assert found.masked.equal(there)


def test_masks_that_leave_too_little_to_hold_out_are_refused() -> None:
    held = hold_out((40, 9), 0.12, generator=generator(0))
    masked = held.judges.clone()
    masked[held.judging_views[0]] = False
    with pytest.raises(ValueError, match=r"at least 2 of the held-out views, or rays, .* got 1"):
        held.with_masked(masked)
    with pytest.raises(ValueError, match=r"as many as those that are held out, \(40, 9\), got \(40, 8\)"):
        held.with_masked(torch.zeros(40, 8, dtype=torch.bool))
