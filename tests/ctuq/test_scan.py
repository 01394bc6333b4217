import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctuq.errors import CtuqError, InputError
from ctuq.scan import Scan
from operators import FanBeam, ImageGrid, ParallelBeam


def geometry(n_angles: int = 6, n_detectors: int = 8) -> ParallelBeam:
    return ParallelBeam(
        grid=ImageGrid(shape=(4, 4)), angles_rad=np.linspace(0, math.pi, n_angles, False), n_detectors=n_detectors
    )


def fan(n_angles: int = 4, n_detectors: int = 8) -> FanBeam:
    return FanBeam(
        grid=ImageGrid(shape=(4, 4)),
        angles_rad=np.linspace(0, 2 * math.pi, n_angles, False),
        n_detectors=n_detectors,
        pitch_mm=1.0,
        source_origin_mm=20.0,
        origin_detector_mm=10.0,
    )


def values(n_angles: int = 6, n_detectors: int = 8, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((n_angles, n_detectors)).astype(np.float32)


def test_takes_numpy_lists_and_tensors_and_keeps_float32() -> None:
    rows = values().astype(np.float64)
    for given_as in (rows, rows.tolist(), torch.tensor(rows)):
        scan = Scan(given_as, geometry())
        assert scan.sinogram.dtype == torch.float32
        torch.testing.assert_close(scan.sinogram, torch.tensor(rows, dtype=torch.float32), rtol=0, atol=0)
    assert (scan.noise_variance, scan.name) == (None, "scan")


def test_what_comes_in_may_change_afterwards() -> None:
    rows = values()
    scan = Scan(rows, geometry())
    rows[:] = 7
    assert float(scan.sinogram.max()) < 1


def test_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Scan(values(), geometry()).name = "other"  # type: ignore[misc]


def test_a_wrong_shape_says_what_was_expected_and_what_to_try() -> None:
    with pytest.raises(InputError, match=r"\(angle, detector\) = \(6, 8\).*got \(5, 8\)"):
        Scan(values(5), geometry())
    with pytest.raises(InputError, match=r"got \(8, 6\): transpose it"):
        Scan(values().T, geometry())
    with pytest.raises(InputError, match="expected an array of numbers, got str"):
        Scan("no numbers", geometry())


def test_nan_and_infinite_values_are_two_messages_with_counts_and_the_first_place() -> None:
    rows = values()
    rows[2, 3] = rows[4, 1] = np.nan
    rows[1, 5] = -np.inf
    with pytest.raises(InputError) as caught:
        Scan(rows, geometry())
    nan, infinite = str(caught.value).splitlines()
    assert "got 2 NaN of 48 values (the first at view 2, detector pixel 3)" in nan
    assert "got 1 infinite of 48 values (the first at view 1, detector pixel 5)" in infinite
    assert "interpolate" in nan
    assert "-log of a zero count" in infinite


def test_values_too_large_for_float32_are_infinite() -> None:
    rows = values().astype(np.float64)
    rows[0, 0] = 1e300
    with pytest.raises(InputError, match="1 infinite"):
        Scan(rows, geometry())


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_noise_variances_are_positive_and_finite(bad: float) -> None:
    with pytest.raises(InputError, match="got 1 of 1 that are not"):
        Scan(values(), geometry(), bad)
    rays = np.ones((6, 8))
    rays[1, 1] = bad
    with pytest.raises(InputError, match="got 1 of 48 that are not"):
        Scan(values(), geometry(), rays)


def test_noise_variance_is_one_number_or_one_a_ray() -> None:
    assert Scan(values(), geometry(), np.float64(0.1)).noise_variance == 0.1
    per_ray = Scan(values(), geometry(), np.full((6, 8), 0.1)).noise_variance
    assert isinstance(per_ray, torch.Tensor)
    with pytest.raises(InputError, match=r"of one number or of the sinogram's shape \(6, 8\), got shape \(8,\)"):
        Scan(values(), geometry(), np.ones(8))


def test_an_input_error_is_a_ctuq_error_a_value_error_and_exit_code_2() -> None:
    assert issubclass(InputError, CtuqError)
    assert issubclass(InputError, ValueError)
    assert (CtuqError.exit_code, InputError.exit_code) == (1, 2)


@given(factor=st.integers(1, 9), n_detectors=st.integers(9, 20), seed=st.integers(0, 99))
def test_binning_averages_and_propagates_the_variance(factor: int, n_detectors: int, seed: int) -> None:
    rows, variance = values(3, n_detectors, seed), values(3, n_detectors, seed + 1) + 0.1
    binned = Scan(rows, geometry(3, n_detectors), variance).binned(factor)
    assert binned.geometry.sinogram_shape == tuple(binned.sinogram.shape) == (3, n_detectors // factor)
    assert binned.geometry.pitch_mm == factor
    last = slice((n_detectors // factor - 1) * factor, (n_detectors // factor) * factor)
    assert float(binned.sinogram[1, -1]) == pytest.approx(rows[1, last].mean(), rel=1e-5)
    assert isinstance(binned.noise_variance, torch.Tensor)
    assert float(binned.noise_variance[1, -1]) == pytest.approx(variance[1, last].sum() / factor**2, rel=1e-5)
    scalar = Scan(rows, geometry(3, n_detectors), 0.5).binned(factor)
    assert scalar.noise_variance == pytest.approx(0.5 / factor)


def test_binned_variance_is_that_of_binned_noise() -> None:
    n = 40_000
    noise = np.random.default_rng(0).normal(scale=[[1.0, 2.0, 3.0, 4.0]], size=(n, 4))
    variance = np.broadcast_to(np.square([1.0, 2.0, 3.0, 4.0]), (n, 4))
    binned = Scan(noise, geometry(n, 4), variance).binned(2)
    assert isinstance(binned.noise_variance, torch.Tensor)
    z = (binned.sinogram.var(dim=0) / binned.noise_variance[0] - 1) / math.sqrt(2 / n)
    assert float(z.abs().max()) < 5


@pytest.mark.parametrize("factor", [-1, 0, 9])
def test_a_bin_that_leaves_no_detector_is_refused(factor: int) -> None:
    with pytest.raises(InputError, match=f"from 1 to the scan's 8 detector pixels, got {factor}"):
        Scan(values(), geometry()).binned(factor)


def test_every_keeps_each_views_rays_and_noise_together() -> None:
    rows = values()
    thinned = Scan(rows, geometry(), rows + 1, name="s").every(4)
    assert thinned.geometry.angles_rad == tuple(geometry().angles_rad[::4])
    np.testing.assert_array_equal(thinned.sinogram.numpy(), rows[::4])
    assert isinstance(thinned.noise_variance, torch.Tensor)
    np.testing.assert_array_equal(thinned.noise_variance.numpy(), rows[::4] + 1)
    assert thinned.name == "s"
    with pytest.raises(InputError, match="at least 1, got 0"):
        thinned.every(0)


def test_on_grid_changes_the_grid_alone() -> None:
    scan = Scan(values(4), fan(), 0.5, "s")
    other = scan.on_grid(ImageGrid(shape=(3, 5), pixel_mm=2.0))
    assert other.geometry.grid == ImageGrid(shape=(3, 5), pixel_mm=2.0)
    assert (other.noise_variance, other.name, other.sha256) == (0.5, "s", scan.sha256)
    with pytest.raises(InputError, match="source must stay outside"):
        scan.on_grid(ImageGrid(shape=(50, 50)))


def test_the_digest_follows_values_angles_and_noise_and_not_the_name() -> None:
    rows = values()
    digest = Scan(rows, geometry()).sha256
    assert Scan(rows.copy(), geometry(), name="other").sha256 == digest
    changed = rows.copy()
    changed[0, 0] += 1
    turned = geometry().angles_rad[::-1]
    others = {
        Scan(changed, geometry()).sha256,
        Scan(rows, geometry(), 0.1).sha256,
        Scan(rows, ParallelBeam(grid=ImageGrid(shape=(4, 4)), angles_rad=turned, n_detectors=8)).sha256,
    }
    assert len(others | {digest}) == 4


def test_the_file_name_stays_with_every_part_of_a_scan() -> None:
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(4, 4), pixel_mm=1.0), angles_rad=np.arange(4.0), n_detectors=6, pitch_mm=1.0
    )
    scan = Scan(np.ones((4, 6)), geometry, file_name="a.h5")
    parts = (scan.binned(2), scan.every(2), scan.on_grid(ImageGrid(shape=(3, 3), pixel_mm=1.0)))
    assert {part.file_name for part in parts} == {"a.h5"}
