"""A volume's error bars against a known truth, over all voxels, and against rays that it has not seen."""

from __future__ import annotations

from statistics import fmean

import pytest

from tests.benchmarks.cone_volume import DETECTOR, SIZE, VIEWS, figures, reconstructed, simulated

# One object's coverage scatters by some per cent: at the larger size these two, all that were run, had 93 and 88 %, of
# which the air around them is most. Inside the objects it is far less (docs/howto/volumes.md).
OBJECTS = [(SIZE, DETECTOR, (2, 3)), (2 * SIZE, 2 * DETECTOR, (2, 4))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("size", "detector", "seeds"), OBJECTS)
def test_error_bars_of_a_volume_cover_voxels_in_the_mean_and_rays_that_were_held_out(
    size: int, detector: int, seeds: tuple[int, ...]
) -> None:
    found = []
    for seed in seeds:
        scan, truth = simulated(size, VIEWS, detector, seed=seed)
        found.append(figures(reconstructed(scan, size, ()), truth, scan))
        assert found[-1]["psnr"] > max(found[-1]["psnr_fdk"], found[-1]["psnr_fdk_hann"]) + 3
    assert 0.90 <= fmean(each["voxels_within_95"] for each in found) <= 0.98
    assert 0.90 <= fmean(each["rays_within_95"] for each in found) <= 0.98
