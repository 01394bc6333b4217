"""Samples that are kept are those of the posterior, wherever they lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from ctuq import kept_samples
from ctuq.errors import CtuqError
from ctuq.kept_samples import draw_kept
from dip import DensePosterior
from operators import GaussianNoise, MatrixMap


def posterior() -> DensePosterior:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    factor = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    mean = torch.arange(12.0).reshape(3, 4)
    rays = MatrixMap(rows, in_shape=(3, 4), out_shape=(5,))
    return DensePosterior(rays, factor, noise=GaussianNoise(0.1), mean=mean)


def drawn(n: int, block: int) -> torch.Tensor:
    found = draw_kept(posterior(), n, block=block, generator=torch.Generator().manual_seed(1))
    assert found.relative_residual.shape == (n,)
    assert found.converged
    return found.images


@pytest.mark.parametrize("large", [False, True])
def test_samples_are_the_posteriors_block_by_block(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if large:
        monkeypatch.setattr(kept_samples, "_LARGE", 10)
    generator = torch.Generator().manual_seed(1)
    expected = torch.cat([posterior().sample(n, generator=generator).images for n in (2, 2, 1)])
    images = drawn(5, 2)
    assert images.dtype == torch.float32
    assert images.equal(expected.float())
    assert images.numpy().mean() == pytest.approx(float(expected.mean()), rel=1e-5)
    assert not list(tmp_path.iterdir())


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(kept_samples, "_LARGE", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CtuqError, match=r"240 bytes for 5 samples in .*No space left.*posterior\.kept_samples"):
        drawn(5, 2)
    assert not list(tmp_path.iterdir())
