"""One sketch of the rays' covariance preconditions every question about them."""

from __future__ import annotations

import pytest
import torch

from dip import ConjugateGradientUpdate, WhitenedRays
from dip.pathwise import Update
from dip.ray_preconditioner import PreconditionedMap
from dip.ray_sketch import RaySketch, most_vectors, ray_sketch
from operators import GaussianNoise, GramMap, MatrixMap
from tests.dip.dense import dense, generator, positive_definite, randn
from tests.dip.test_pathwise import draws

VIEWS, PIXELS = 8, 5
SHAPE = (VIEWS, PIXELS)
VARIANCES = {"signal": 1.0, "noise": 0.3}
SEEN = (torch.arange(VIEWS) < 5)[:, None].expand(SHAPE)
NOTHING = torch.zeros(SHAPE, dtype=torch.bool)


def signal(scale: float = 1.0) -> MatrixMap:
    """A F: deviations from 300 to 3 of forty rays whose noise is about a half."""
    root = torch.linalg.qr(randn(40, 40)).Q * torch.logspace(2.5, 0.5, 40, dtype=torch.float64)
    return MatrixMap(scale**0.5 * root, out_shape=SHAPE)


def noise(left_out: torch.Tensor, scale: float = 1.0) -> GaussianNoise:
    variance = 0.1 + randn(*SHAPE, seed=1).square()
    shared = positive_definite(PIXELS, seed=2)
    return GaussianNoise(scale * torch.where(left_out, 1e9, variance), scale * shared)


def rays(left_out: torch.Tensor, scale: float = 1.0) -> WhitenedRays:
    eye = MatrixMap(torch.eye(40, dtype=torch.float64), in_shape=SHAPE, out_shape=SHAPE)
    return WhitenedRays(eye, signal(scale), noise(left_out, scale), torch.float64)


def sketch(rank: int) -> RaySketch:
    return ray_sketch(
        signal(),
        rank,
        seen=SEEN,
        noise_std=noise(NOTHING).standard_deviation(torch.zeros(SHAPE, dtype=torch.float64)),
        variances=VARIANCES,
        generator=generator(),
        rounding=1e-16,
        batch=7,
    )


@pytest.mark.parametrize("scale", [1.0, 17.0])
@pytest.mark.parametrize("left_out", [NOTHING, ~SEEN], ids=["all rays", "seen rays"])
def test_what_is_sketched_whole_is_preconditioned_to_a_constant(left_out: torch.Tensor, scale: float) -> None:
    scaled = {name: scale * variance for name, variance in VARIANCES.items()}
    preconditioner = sketch(32).preconditioner(noise(left_out, scale), scaled)
    matrix = dense(PreconditionedMap(GramMap(rays(left_out, scale), shift=1.0), preconditioner))
    values = torch.linalg.eigvalsh(matrix)
    assert float(values[0]) > 1 - 1e-6
    if left_out is NOTHING:  # fifteen rays of which the sketch knows what the others share with them
        assert float(values[-1]) < float(torch.linalg.eigvalsh(dense(GramMap(rays(left_out, scale), shift=1.0)))[-1])
    else:
        # Along rays that are left out the covariance is 1, along those that are seen a multiple.
        torch.testing.assert_close(values[:15], torch.ones(15, dtype=torch.float64), rtol=1e-4, atol=0)
        torch.testing.assert_close(values[15:], values[-1].expand(25), rtol=1e-4, atol=0)


def solve(question: WhitenedRays, known: RaySketch) -> Update:
    preconditioner = known.preconditioner(question.noise, VARIANCES)
    update = ConjugateGradientUpdate(
        question, tolerance=1e-6, iterations=200, rank=0, generator=generator(), preconditioner=preconditioner
    )
    return update(*draws(question))


def test_a_sketch_grows_with_what_a_solve_searched() -> None:
    grown, first = sketch(12), rays(~SEEN)
    passes = []
    for _ in range(2):
        found = solve(first, grown)
        assert float(found.relative_residual.max()) <= 1e-6
        passes.append(found.passes)
    assert passes[1] <= passes[0] / 2
    without = ConjugateGradientUpdate(first, tolerance=1e-6, iterations=200, rank=0, generator=generator())
    torch.testing.assert_close(without(*draws(first)).images, found.images, rtol=0, atol=1e-3)


def test_what_was_searched_without_some_rays_serves_those_with_them() -> None:
    grown, first, every = sketch(3), rays(~SEEN), rays(NOTHING)

    before = solve(every, grown).passes
    solve(first, grown)
    products = grown._product
    expected = GramMap(signal())(grown._test)
    torch.testing.assert_close(products, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert len(products) <= 12
    assert solve(every, grown).passes < before


@pytest.mark.parametrize(("strongest", "falling"), [(1000, 1.0), (500, 1.0), (3000, 1.0), (1e5, 1.5), (1e3, 2.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_rounding_of_single_precision_ends_no_solve(strongest: float, falling: float, seed: int) -> None:
    """Directions that solves searched along are far from orthonormal, and their products are rounded."""
    n, shape = 600, (60, 10)
    deviations = strongest * torch.arange(1, n + 1, dtype=torch.float64) ** -falling
    factor = MatrixMap((torch.linalg.qr(randn(n, n, seed=seed)).Q * deviations).float(), out_shape=shape)
    eye = MatrixMap(torch.eye(n), in_shape=shape, out_shape=shape)
    left_out = [torch.arange(60)[:, None].expand(shape) >= first for first in (40, 50, 60)]

    def single(unseen: torch.Tensor) -> WhitenedRays:
        noise = GaussianNoise(torch.where(unseen, 1e9, 1.0))
        return WhitenedRays(eye, factor, noise, torch.float32)

    found = ray_sketch(
        WhitenedRays(eye, factor, GaussianNoise(1.0), torch.float32),
        64,
        seen=~left_out[0],
        noise_std=torch.ones(shape, dtype=torch.float64),
        variances=VARIANCES,
        generator=generator(seed),
        rounding=torch.finfo(torch.float32).eps,
        batch=16,
    )
    for unseen in left_out:
        here = single(unseen)
        preconditioner = found.preconditioner(here.noise, VARIANCES)
        update = ConjugateGradientUpdate(
            here, tolerance=0.05, iterations=60, rank=0, generator=generator(), preconditioner=preconditioner
        )
        plain = ConjugateGradientUpdate(here, tolerance=0.05, iterations=60, rank=0, generator=generator())
        latent, noise = draws(here, n=16)
        solved, without = update(latent, noise), plain(latent, noise)
        if bool((without.relative_residual <= 0.05).all()):  # elsewhere products are rounded too coarsely for anything
            assert float(solved.relative_residual.max()) <= 0.05


def test_a_sketch_that_is_full_takes_nothing_in() -> None:
    grown, every = sketch(3), rays(NOTHING)
    for _ in range(3):
        preconditioner = grown.preconditioner(every.noise, VARIANCES)
        assert preconditioner.room == most_vectors(3, 40) - len(grown._test)
        update = ConjugateGradientUpdate(
            every, tolerance=1e-6, iterations=200, rank=0, generator=generator(), preconditioner=preconditioner
        )
        for _ in range(2):
            update(*draws(every))
    assert len(grown._test) == most_vectors(3, 40) == 12


def test_the_last_solve_leaves_nothing_behind() -> None:
    grown, every = sketch(3), rays(NOTHING)
    preconditioner = grown.preconditioner(every.noise, VARIANCES, last=True)
    assert preconditioner.record is None
    assert preconditioner.room == 0


def test_vectors_are_bounded_by_memory() -> None:
    assert most_vectors(256, 15_360) == 1024
    assert 256 <= most_vectors(256, 100_000) < 320
    assert most_vectors(256, 10**7) == 256
