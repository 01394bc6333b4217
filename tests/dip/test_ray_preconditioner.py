from __future__ import annotations

from typing import Any

import pytest
import torch

from dip import ConjugateGradientUpdate, SampleThenOptimiseUpdate, StochasticDualDescentUpdate, WhitenedRays
from dip.ray_preconditioner import PreconditionedMap, RayPreconditioner
from operators import GaussianNoise, GramMap, MatrixMap
from tests.dip.dense import dense, generator, randn
from tests.dip.test_pathwise import draws


def strong_rays() -> WhitenedRays:
    """A signal whose deviation falls from 1000 to 1 times the noise."""
    root = MatrixMap(torch.linalg.qr(randn(40, 40)).Q * torch.logspace(3, 0, 40, dtype=torch.float64))
    return WhitenedRays(MatrixMap(torch.eye(40, dtype=torch.float64)), root, GaussianNoise(1.0), torch.float64)


@pytest.mark.parametrize("kind", [ConjugateGradientUpdate, SampleThenOptimiseUpdate])
def test_a_preconditioner_saves_passes(kind: Any) -> None:
    rays = strong_rays()
    latent, noise = draws(rays)
    found = [
        kind(rays, tolerance=1e-4, iterations=2000, rank=rank, generator=generator())(latent, noise)
        for rank in (0, 20, 40, 10_000)
    ]
    assert 1.5 * found[1].passes < found[0].passes
    assert found[2].passes == found[3].passes <= 9 + 2
    assert all(float(update.relative_residual.max()) <= 1e-4 for update in found[1:])


def test_a_preconditioner_lets_dual_descent_converge() -> None:
    rays = strong_rays()
    covariance = dense(rays) @ dense(rays).mT + torch.eye(40, dtype=torch.float64)
    without, with_it = (
        StochasticDualDescentUpdate(
            rays, covariance, tolerance=1e-2, sweeps=300, rank=rank, generator=generator(), block=10
        )(*draws(rays))
        for rank in (0, 30)
    )
    assert float(without.relative_residual.min()) > 1
    assert float(with_it.relative_residual.max()) <= 1e-2


@pytest.mark.parametrize("rank", [0, 5, 20, 40])
def test_preconditioned_rays_have_no_eigenvalue_below_one(rank: int) -> None:
    gram, n = GramMap(strong_rays()), 40
    preconditioner = RayPreconditioner.of_map(gram, rank, generator=generator(), rounding=1e-16)
    matrix = dense(PreconditionedMap(GramMap(strong_rays(), shift=1.0), preconditioner))
    values = torch.linalg.eigvalsh(matrix)
    assert float(values[0]) > 1 - 1e-6
    # What a rank leaves out of eigenvalues 1e6 to 1 in geometric steps, and a bit.
    left_out = float(values[-1]) / (1 + 10 ** (6 - 6 * min(rank, n - 1) / (n - 1)))
    assert left_out < (1 + 1e-6 if rank in (0, n) else 10)
