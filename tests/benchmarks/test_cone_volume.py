"""A volume with error bars that hold against the truth, and against rays that it has not seen."""

from __future__ import annotations

import pytest

from tests.benchmarks.cone_volume import DETECTOR, SIZE, VIEWS, figures, reconstructed, simulated


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_error_bars_of_a_volume_cover_the_truth_and_rays_that_were_held_out() -> None:
    scan, truth = simulated(SIZE, VIEWS, DETECTOR, seed=3)
    found = figures(reconstructed(scan, SIZE, ()), truth, scan)
    assert found["psnr"] > max(found["psnr_fdk"], found["psnr_fdk_hann"]) + 3
    assert 0.90 <= found["voxels_within_95"] <= 0.98
    assert 0.90 <= found["rays_within_95"] <= 0.98
