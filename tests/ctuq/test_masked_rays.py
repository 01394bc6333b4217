from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctuq.errors import InputError
from ctuq.masked_rays import interpolated
from ctuq.scan import Scan
from operators import ImageGrid, ParallelBeam

SHAPE = (6, 12)
GEOMETRY = ParallelBeam(grid=ImageGrid(shape=(8, 8)), angles_rad=[0.5 * k for k in range(6)], n_detectors=12)
RAMP = torch.arange(12.0).expand(SHAPE)


def mask(*rays: tuple[int, int]) -> torch.Tensor:
    some = torch.zeros(SHAPE, dtype=torch.bool)
    for view, column in rays:
        some[view, column] = True
    return some


@settings(deadline=None)
@given(hidden=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=6, max_size=6).map(torch.tensor))
def test_what_is_hidden_between_known_rays_of_a_straight_view_is_found_again(hidden: torch.Tensor) -> None:
    filled = interpolated(torch.where(hidden, math.nan, RAMP), ~hidden)
    assert filled.isfinite().all()
    assert filled[~hidden].equal(RAMP[~hidden])
    for view in range(6):
        known = torch.nonzero(~hidden[view])[:, 0]
        if len(known):
            inside = slice(int(known[0]), int(known[-1]) + 1)
            torch.testing.assert_close(filled[view, inside], RAMP[view, inside])
        else:
            assert not filled[view].any()


def test_a_detector_row_without_a_known_ray_is_found_between_its_neighbours() -> None:
    view, row, column = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), torch.arange(4.0), indexing="ij")
    volume = view + 10 * row + column
    known = torch.ones(volume.shape, dtype=torch.bool)
    known[1, 2] = known[2, 4] = False
    known[0, 3, 1] = False
    filled = interpolated(torch.where(known, volume, math.nan), known)
    assert filled[known].equal(volume[known])
    torch.testing.assert_close(filled[:2], volume[:2])
    torch.testing.assert_close(filled[2, 4], volume[2, 3])  # beyond the last it goes on
    assert not interpolated(volume, torch.zeros_like(known)).any()


def test_a_scan_without_stated_noise_has_no_masked_rays_until_it_is_given_some() -> None:
    scan = Scan(RAMP, GEOMETRY)
    assert not scan.masked.any()
    assert scan.with_masked(mask()) is scan
    one = scan.with_masked(mask((2, 3)))
    assert one.masked.equal(mask((2, 3)))
    two = one.with_masked(mask((4, 5)))
    assert two.masked.equal(mask((2, 3), (4, 5)))
    torch.testing.assert_close(two.sinogram, RAMP)


def test_masks_survive_and_say_nothing_of_the_other_rays_noise() -> None:
    variance = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) + 0.5
    scan = Scan(RAMP, GEOMETRY, variance).with_masked(mask((0, 0), (2, 3)))
    assert isinstance(scan.noise_variance, torch.Tensor)
    assert scan.noise_variance[~scan.masked].equal(variance[~scan.masked])
    assert scan.select([2, 1]).masked.equal(mask((2, 3))[[2, 1]])


def test_a_mask_states_no_noise() -> None:
    for variance in (None, 0.5):
        masked = Scan(RAMP, GEOMETRY, variance).with_masked(mask((0, 0), (2, 3)))
        assert not any(scan.noise_stated for scan in (masked, masked.binned(2), masked.every(2)))
    stated = Scan(RAMP, GEOMETRY, torch.ones(SHAPE))
    assert all(scan.noise_stated for scan in (stated, stated.with_masked(mask((0, 0))), stated.binned(2)))
    assert not replace(stated, noise_variance=None).noise_stated


def test_half_the_scan_may_be_masked() -> None:
    half = torch.arange(12).expand(SHAPE) % 2 == 0
    assert Scan(RAMP, GEOMETRY).with_masked(half).masked.equal(half)


def test_with_no_ray_left_there_is_no_scan() -> None:
    with pytest.raises(InputError, match="every one is masked"):
        Scan(RAMP, GEOMETRY).with_masked(torch.ones(SHAPE, dtype=torch.bool))


def test_bins_average_over_gaps_and_know_them() -> None:
    variance = torch.full(SHAPE, 2.0)
    gaps = mask((1, 4), (3, 6), (3, 7), (3, 8))
    values = torch.where(gaps, 1e6, RAMP)
    binned = Scan(values, GEOMETRY, torch.where(gaps, 1e12, variance)).binned(3)
    torch.testing.assert_close(binned.sinogram, RAMP.reshape(6, 4, 3).mean(dim=2))
    assert isinstance(binned.noise_variance, torch.Tensor)
    assert float(binned.noise_variance[0, 0]) == pytest.approx(2 / 3)
    assert float(binned.noise_variance[1, 1]) == pytest.approx(2 / 2 * 3 / 2)  # of two rays, for a bin of three
    expected = torch.zeros(6, 4, dtype=torch.bool)
    expected[3, 2] = True
    assert binned.masked.equal(expected)
