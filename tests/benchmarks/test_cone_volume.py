"""A volume of the size that a CPU can bear, with error bars that hold against the truth."""

from __future__ import annotations

import pytest

from tests.benchmarks.cone_volume import DETECTOR, SIZE, VIEWS, figures, reconstructed, simulated


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_volume_of_48_cubed_from_24_views_has_error_bars_that_cover() -> None:
    scan, truth = simulated(SIZE, VIEWS, DETECTOR, seed=1)
    found = figures(reconstructed(scan, SIZE, ()), truth, scan)
    assert found["psnr"] > found["psnr_fdk"] + 2
    assert found["psnr"] > found["psnr_fdk_hann"] + 2
    assert 0.90 <= found["voxels_within_95"] <= 0.98
    assert 0.90 <= found["rays_within_95"] <= 0.98
