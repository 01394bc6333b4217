"""Samples that are kept are those of the posterior, wherever they lie."""

from __future__ import annotations

import gc
import os
import tempfile
import weakref
from pathlib import Path

import pytest
import torch

from ctuq import kept_samples
from ctuq.errors import CtuqError
from ctuq.kept_samples import variance_and_samples
from dip import CholeskyUpdate, DensePosterior, SampledPosterior, WhitenedRays
from dip.pathwise import PathwiseUpdate, Update
from operators import GaussianNoise, MatrixMap


def posterior() -> DensePosterior:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    factor = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    mean = torch.arange(12.0).reshape(3, 4)
    rays = MatrixMap(rows, in_shape=(3, 4), out_shape=(5,))
    return DensePosterior(rays, factor, noise=GaussianNoise(0.1), mean=mean)


def drawn(n: int) -> torch.Tensor:
    further = torch.Generator().manual_seed(1)
    _, found = variance_and_samples(posterior(), n, draws=torch.Generator(), further=further)
    assert found.relative_residual.shape == (n,)
    assert found.converged
    return found.images


@pytest.mark.parametrize("large", [False, True])
def test_samples_are_the_posteriors_block_by_block(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(kept_samples, "_AT_A_TIME", 2)
    if large:
        monkeypatch.setattr(kept_samples, "_LARGE", 10)
    generator = torch.Generator().manual_seed(1)
    expected = torch.cat([posterior().sample(n, generator=generator).images for n in (2, 2, 1)])
    images = drawn(5)
    assert images.dtype == torch.float32
    assert images.equal(expected.float())
    assert images.numpy().mean() == pytest.approx(float(expected.mean()), rel=1e-5)
    assert not list(tmp_path.iterdir())


def sampled(n_samples: int, update: PathwiseUpdate | None = None) -> SampledPosterior:
    rays = MatrixMap(torch.eye(12, dtype=torch.float64)[:5], in_shape=(3, 4), out_shape=(5,))
    factor = MatrixMap(torch.eye(12, dtype=torch.float64), out_shape=(3, 4))
    white = WhitenedRays(rays, factor, GaussianNoise(0.1), torch.float64)
    exact = CholeskyUpdate(white, torch.eye(5, dtype=torch.float64) * 11**0.5, tolerance=1e-9)
    return SampledPosterior(update or exact, mean=posterior().mean, n_samples=n_samples, block=4)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_the_first_draws_behind_a_variance_are_kept_and_others_where_they_are_too_few(n: int) -> None:
    estimate, kept = variance_and_samples(
        sampled(6), n, draws=torch.Generator().manual_seed(1), further=torch.Generator().manual_seed(2)
    )
    assert len(kept.images) == len(kept.relative_residual) == n
    assert kept.converged
    drawn = sampled(6).sample(6, generator=torch.Generator().manual_seed(1)).images
    assert kept.images[:6].equal(drawn[:n].float())
    if n >= 6:
        about = kept.images[:6].double() - posterior().mean
        torch.testing.assert_close(about.square().mean(0), estimate.variance.double(), rtol=1e-5, atol=1e-5)
    others = sampled(6).sample(3, generator=torch.Generator().manual_seed(2)).images
    assert kept.images[6:].equal(others[: max(0, n - 6)].float())


def test_no_block_of_draws_outlives_the_next() -> None:
    class Watched(CholeskyUpdate):
        def __call__(self, latent: torch.Tensor, noise: torch.Tensor) -> Update:
            gc.collect()
            assert sum(alive() is not None for alive in blocks[:-1]) == 0
            made = super().__call__(latent, noise)
            blocks.append(weakref.ref(made.images.untyped_storage()))
            return made

    blocks: list[weakref.ref[torch.UntypedStorage]] = []
    plain = sampled(2)._update
    assert isinstance(plain, CholeskyUpdate)
    watched = Watched(plain.rays, plain._data_factor, tolerance=1e-9)
    variance_and_samples(sampled(16, watched), 3, draws=torch.Generator(), further=torch.Generator())
    assert len(blocks) == 4


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(kept_samples, "_LARGE", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CtuqError, match=r"240 bytes for 5 samples in .*No space left.*posterior\.kept_samples"):
        drawn(5)
    assert not list(tmp_path.iterdir())
