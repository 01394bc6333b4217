from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dip import RayCovariance, length_name, log_evidence
from dip.filter_covariance import DISTANCES
from tests.dip.dense import randn

N = 7
VARIANCES = {"pixels": 0.4, "up.0": 1.7, "down.0": 0.6, "up.0.length": 0.8, "down.0.length": 2.5, "noise": 0.3}


def filters(seed: int) -> Tensor:
    """Of two 3x3 filters seen by N rays: positive definite at every length."""
    squared = torch.cdist(places := torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)), places).square().round()
    rows = randn(N, 2, 9, seed=seed)
    return torch.stack(
        [torch.einsum("afi,ij,bfj->ab", rows, (squared == round(distance**2)).double(), rows) for distance in DISTANCES]
    )


def covariance() -> RayCovariance:
    pixels = randn(N, N, seed=3)
    return RayCovariance(
        {"pixels": pixels @ pixels.mT},
        {"noise": torch.ones(N, dtype=torch.float64)},
        {"up.0": filters(1), "down.0": filters(2)},
    )


def test_names_are_the_variances_and_the_lengths() -> None:
    assert covariance().names == tuple(VARIANCES)
    assert covariance().lengths == (length_name("up.0"), length_name("down.0"))


def test_matrix_is_written_out_with_exponentials_of_the_distance() -> None:
    rays = covariance()
    expected = 0.4 * rays.grams["pixels"] + 0.3 * torch.eye(N, dtype=torch.float64)
    for name in ("up.0", "down.0"):
        for distance, gram in zip(DISTANCES, rays.filters[name], strict=True):
            expected += VARIANCES[name] * math.exp(-distance / VARIANCES[f"{name}.length"]) * gram
    torch.testing.assert_close(rays.matrix(VARIANCES), expected)
    some = torch.tensor([5, 0, 2])
    torch.testing.assert_close(rays.select(some).matrix(VARIANCES), expected[some][:, some])


@pytest.mark.parametrize("name", VARIANCES)
def test_slope_of_the_evidence_is_a_finite_difference(name: str) -> None:
    rays, data, step = covariance(), randn(N), 1e-5
    _, slope = log_evidence(rays, VARIANCES, data)
    ends = [log_evidence(rays, VARIANCES | {name: VARIANCES[name] * math.exp(h)}, data)[0] for h in (step, -step)]
    expected = float(ends[0] - ends[1]) / (2 * step)
    assert float(slope[list(VARIANCES).index(name)]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_start_shares_the_signal_evenly_and_begins_with_neighbouring_taps_correlated() -> None:
    rays = covariance()
    start = rays.start(signal=3.0, noise=0.02)
    assert tuple(start) == rays.names
    assert {start[name] for name in rays.lengths} == {1.0}
    assert float(rays.matrix(start).diagonal().mean()) == pytest.approx(3.02)
    alone = start | dict.fromkeys(("pixels", "up.0"), 0.0)
    assert float(rays.matrix(alone).diagonal().mean()) == pytest.approx(1.02)
