from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctuq.errors import InputError
from ctuq.masked_rays import MASKED_FROM
from ctuq.processing_step import ProcessingStep
from ctuq.simulation import counted
from ctuq.transmission import Transmission, line_integrals

Array = NDArray[np.float64]


def hill(n_views: int = 60, n_columns: int = 80, height: float = 2.3) -> Array:
    """Line integrals of an absorber that moves across the detector and has edges."""
    at = np.linspace(-1, 1, n_columns)[None] - 0.2 * np.sin(np.linspace(0, math.pi, n_views))[:, None]
    return height * np.sqrt(np.maximum(0.0, 0.4 - at**2)) / math.sqrt(0.4)


def measured(exact: Array, photons: float, *, dark_level: float = 3.0, seed: int = 0) -> Transmission:
    rng = np.random.default_rng(seed)
    row = counted(exact, photons=photons, n_flats=20, n_darks=20, dark_level=dark_level, rng=rng)
    return line_integrals(row.counts, row.flats, row.darks)


def masked(found: Transmission) -> NDArray[np.bool_]:
    rays: NDArray[np.bool_] = found.variance * (1 / found.variance).mean() > MASKED_FROM
    return rays


def note(found: Transmission, name: str) -> ProcessingStep:
    (step,) = (step for step in found.steps if step.name == name)
    return step


@pytest.mark.parametrize("photons", [100, 1_000, 100_000])
def test_whitened_residuals_have_variance_1_and_mean_0(photons: float) -> None:
    exact, draws = hill(), []
    for seed in range(8):
        found = measured(exact, photons, seed=seed)
        z = ((found.line_integrals - exact) / np.sqrt(found.variance))[~masked(found)]
        draws.append([(z**2).mean(), z.mean()])
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / math.sqrt(8)
    assert abs(mean[0] - 1) < 4 * error[0] + 0.01
    assert abs(mean[1]) < 4 * error[1] + 0.02


def test_few_photons_do_not_pull_weighted_means() -> None:
    """By the counts that came, the weighted mean of rays that expect 10 photons is 0.1 too low."""
    exact = np.full((60, 80), math.log(10))
    found = measured(exact, 100, dark_level=0.0)
    rng = np.random.default_rng(0)
    counts = rng.poisson(10, exact.shape)
    naive = np.average(-np.log(np.maximum(counts, 1) / 100), weights=np.maximum(counts, 1))
    assert naive - math.log(10) < -0.03
    ours = np.average(found.line_integrals, weights=1 / found.variance)
    assert abs(ours - math.log(10)) < 5 * math.sqrt(found.variance.mean() / exact.size)


@settings(deadline=None)
@given(
    scale=st.floats(0.5, 20),
    n_flats=st.integers(1, 5),
    n_views=st.integers(1, 8),
    n_columns=st.integers(2, 12),
)
def test_exact_counts_give_exact_line_integrals(scale: float, n_flats: int, n_views: int, n_columns: int) -> None:
    rng = np.random.default_rng(0)
    exact = rng.uniform(0, 2, (n_views, n_columns))
    open_beam = scale * 1e6 * rng.uniform(0.9, 1.1, n_columns)
    found = line_integrals(7 + open_beam * np.exp(-exact), np.tile(7 + open_beam, (n_flats, 1)), np.full(n_columns, 7))
    np.testing.assert_allclose(found.line_integrals, exact, atol=1e-4)
    assert (found.variance > 0).all()


def test_one_number_one_frame_and_many_equal_frames_are_the_same_line_integrals() -> None:
    counts = np.random.default_rng(1).poisson(5e3, (9, 12)).astype(float)
    many = line_integrals(counts, np.full((6, 12), 9e3), np.full((4, 12), 100.0))
    for flats in (9e3, np.full(12, 9e3), np.full((1, 12), 9e3), [9e3]):
        found = line_integrals(counts, flats, 100.0)
        np.testing.assert_allclose(found.line_integrals, many.line_integrals, rtol=1e-6)


def test_fewer_flats_are_noisier_and_one_number_is_exact() -> None:
    counts = np.random.default_rng(1).poisson(5e3, (9, 12)).astype(float)
    exact, one, four = (
        line_integrals(counts, flats, 0.0).variance.mean() for flats in (1e4, np.full(12, 1e4), np.full((4, 12), 1e4))
    )
    assert one - exact == pytest.approx(1e-4, rel=1e-6)
    assert four - exact == pytest.approx(0.25e-4, rel=1e-6)


def test_darks_that_scatter_are_noise_of_every_ray() -> None:
    counts = np.full((9, 12), 1100.0)
    rng = np.random.default_rng(0)
    quiet, noisy = (line_integrals(counts, 4e4, 100 + rng.normal(0, width, (50, 12))) for width in (0.0, 30.0))
    grown = float((noisy.variance - quiet.variance).mean())
    assert grown == pytest.approx(900 / 1000**2, rel=0.2)


def test_nan_negative_and_zero_counts_are_three_notes_and_masked() -> None:
    counts = np.random.default_rng(2).poisson(500.0, (20, 30)).astype(float)
    counts[3, 4], counts[5, 6], counts[5, 7], counts[8, 9] = math.nan, 2.0, -1.0, 0.0
    found = line_integrals(counts, 1e3, 10.0)
    assert note(found, "nan counts").numbers["rays"] == 1
    assert note(found, "negative counts").numbers["rays"] == 2
    assert note(found, "zero counts").numbers["rays"] == 1
    assert sorted(map(tuple, np.argwhere(masked(found)).tolist())) == [(3, 4), (5, 6), (5, 7), (8, 9)]
    assert np.isfinite(found.line_integrals).all()
    between = (found.line_integrals[3, 3] + found.line_integrals[3, 5]) / 2
    assert found.line_integrals[3, 4] == pytest.approx(between)
    assert "below the dark" in str(note(found, "negative counts"))


def test_nothing_to_mask_is_not_mentioned() -> None:
    found = measured(hill(), 1e4)
    assert [step.name for step in found.steps] == ["flat and dark correction", "noise from counts"]


def test_flats_of_few_photons_are_warned_of() -> None:
    counts = np.random.default_rng(1).poisson(5e3, (90, 12)).astype(float)
    rings = "expect rings"
    assert rings in str(note(line_integrals(counts, np.full((2, 12), 1e4), 0.0), "noise from counts"))
    assert rings not in str(note(line_integrals(counts, np.full((200, 12), 1e4), 0.0), "noise from counts"))


def test_broken_columns_are_masked_in_every_view() -> None:
    rng = np.random.default_rng(3)
    row = counted(hill(), photons=1e4, n_flats=5, n_darks=5, dark_level=10.0, rng=rng)
    row.counts[:, 20] = row.flats[:, 20] = 10.0
    found = line_integrals(row.counts, row.flats, row.darks)
    assert note(found, "dead columns").numbers["columns"] == (20,)
    assert masked(found)[:, 20].all()
    assert masked(found).sum() == 60
    middle = (found.line_integrals[:, 19] + found.line_integrals[:, 21]) / 2
    np.testing.assert_allclose(found.line_integrals[:, 20], middle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5), 2.0, 0.0), r"expected counts \(angle, column\), got shape \(5,\)"),
        ((np.ones((4, 5)), np.ones((2, 6)), 0.0), "expected flats .* of the counts' 5 columns"),
        ((np.ones((4, 5)), 2.0, np.ones((2, 3, 5))), "expected darks"),
        ((np.ones((4, 5)), np.full((2, 5), math.nan), 0.0), "expected finite counts in the flats, got 10 of 10 NaN"),
        ((np.ones((4, 5)), 5.0, 2.0), "flats and darks swapped"),
        ((np.array([["a", "b"]]), 5.0, 2.0), "expected counts as numbers"),
    ],
)
def test_what_makes_no_line_integrals_is_refused(arguments: tuple[Array, Array, Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        line_integrals(*arguments)


def test_what_is_not_finite_in_flats_and_darks_is_left_out_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    row = counted(hill(), photons=1000, n_flats=5, n_darks=5, dark_level=3.0, rng=rng)
    flats, darks = row.flats.astype(float), row.darks.astype(float)
    flats[0, 7], darks[1, 8] = math.inf, math.nan
    found = line_integrals(row.counts, flats, darks)
    for column, wanted in ((7, (row.flats[1:], row.darks)), (8, (row.flats, np.delete(row.darks, 1, axis=0)))):
        values = line_integrals(row.counts, *wanted).line_integrals
        np.testing.assert_allclose(found.line_integrals[:, column], values[:, column], rtol=1e-2)
    flats[:, 20] = darks[:, 30] = math.nan
    dead = line_integrals(row.counts, flats, darks)
    assert masked(dead)[:, [20, 30]].all()
    assert masked(dead).sum() == masked(found).sum() + 2 * len(row.counts)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda counts: counts.__setitem__((slice(None), slice(0, 9)), math.nan), "got 540 of 4800 NaN"),
        (lambda counts: counts.__setitem__(3, math.inf), r"got 1 of 60 with nothing but zeros or NaN \(the first is 3"),
        (lambda counts: counts.__setitem__(5, 0), r"got 1 of 60 with nothing but zeros or NaN \(the first is 5"),
    ],
)
def test_more_than_a_tenth_or_a_whole_view_without_counts_is_refused(
    spoil: Callable[[Array], None], message: str
) -> None:
    counts = 1000 * np.exp(-hill())
    counts[:, :4] = math.nan
    assert line_integrals(counts, 1000.0, 0.0).line_integrals[:, 4:].min() >= -0.01
    spoil(counts)
    with pytest.raises(InputError, match=message):
        line_integrals(counts, 1000.0, 0.0)


def test_numbers_that_no_detector_counts_are_none() -> None:
    counts = 1000 * np.exp(-hill())
    counts[7, 9] = 1e200
    flats = np.full((3, 80), 1000.0)
    flats[1, 4] = 1e200
    found = line_integrals(counts, flats, 0.0)
    assert note(found, "nan counts").numbers == {"rays": 1}
    assert int(masked(found).sum()) == 1
