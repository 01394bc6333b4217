"""Reconstructing as a planner's model: views in, a belief about the image out, kept on disk for the next process."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctuq.config import Config
from ctuq.image_belief import image_belief
from ctuq.reconstructing import reconstruct
from ctuq.scan import Scan
from ctuq.stage_watch import OnStep
from ctuq.whole_file import written_whole
from design import ImageBelief, ImageCovariance
from operators import GaussianNoise, Geometry


class ReconstructingModel:
    """Makes a belief of all views measured, by `reconstruct`; the last one is kept in a file.

    Args:
        geometry: of the instrument; its angles do not matter.
        config: of the reconstruction.
        name: of the scan; seeds derive from it.
        seed: of every random draw.
        device: torch device of the reconstruction.
        cache: where the last belief is kept, or None.
        on_step: called as (stage, done, total, {name: value}).
    """

    def __init__(
        self,
        geometry: Geometry,
        config: Config,
        *,
        name: str,
        seed: int,
        device: str = "cpu",
        cache: Path | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        self._geometry, self._config, self._name, self._seed = geometry, config, name, seed
        self._device, self._cache, self._on_step = device, cache, on_step

    def __call__(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None) -> ImageBelief:
        """What these views say of the image: angles (view,), line integrals (view, detector) and their variances.

        Raises:
            InputError: views that cannot be reconstructed.
        """
        key = self._key(angles_rad, sinogram, noise_variance)
        kept = None if self._cache is None else _read(self._cache, key)
        if kept is not None:
            return kept
        geometry = dataclasses.replace(self._geometry, angles_rad=tuple(angles_rad.tolist()))
        # One number for all rays states no ratio between them.
        stated = noise_variance is not None and bool((noise_variance != noise_variance[0, 0]).any())
        scan = Scan(sinogram, geometry, noise_variance if stated else None, self._name)
        found = reconstruct(scan, self._config, seed=self._seed, device=self._device, on_step=self._on_step)
        generator = torch.Generator().manual_seed(self._seed)
        belief = image_belief(found, self._config.design, generator=generator, on_step=self._on_step)
        if self._cache is not None:
            _write(self._cache, key, belief)
        return belief

    def _key(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None) -> str:
        digest = hashlib.sha256(f"{self._config.model_dump_json()}:{self._name}:{self._seed}".encode())
        for part in (angles_rad, sinogram, *(() if noise_variance is None else (noise_variance,))):
            digest.update(part.double().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _write(path: Path, key: str, belief: ImageBelief) -> None:
    covariance, noise = belief.covariance, belief.noise
    assert isinstance(noise, GaussianNoise)  # noqa: S101  what reconstruct makes
    shared = np.zeros((0, 0)) if noise.view_covariance is None else noise.view_covariance.double().numpy()
    with written_whole(path, force=True) as part, part.open("wb") as file:
        np.savez(
            file,
            key=np.array(key),
            shape=np.array(covariance.shape),
            factor=covariance.factor.numpy(),
            residual=covariance.residual.numpy(),
            n_samples=np.array(covariance.n_samples or 0),
            noise_variance=np.asarray(noise.variance, dtype=np.float64),
            view_covariance=shared,
        )


def _read(path: Path, key: str) -> ImageBelief | None:
    """The belief of this key; None where the file is of other views, or none."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["key"]) != key:
            return None
        rows, cols = file["shape"].tolist()
        covariance = ImageCovariance(
            (rows, cols),
            torch.from_numpy(file["factor"]),
            torch.from_numpy(file["residual"]),
            int(file["n_samples"]) or None,
        )
        shared = torch.from_numpy(file["view_covariance"])
        noise = GaussianNoise(torch.from_numpy(file["noise_variance"]), shared if shared.numel() else None)
        return ImageBelief(covariance, noise)
