"""What the posterior says of every candidate view, and what it would say had some been measured."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.sparse as sp
import torch
from torch import Tensor

from design.acquisition import ViewBelief
from design.candidates import Candidates
from design.factor_downdate import FactorDowndate
from design.image_covariance import ImageCovariance
from operators import Noise, RayTransform

_FEWEST_DRAWS = 8  # by which a variance is known to √(2/8), a half
_LEAST_SHARE = 0.25  # of the draws, where what is left is made up for by a factor of four in variance


def draws_for(n_views: int, n_detectors: int) -> int:
    """Draws from which so many views can be chosen in any case: each uses up as many as it has rays at most."""
    most = (n_views - 1) * n_detectors
    return max(most + _FEWEST_DRAWS, math.ceil(most / (1 - _LEAST_SHARE)))


class _View(NamedTuple):
    """A candidate as it was believed after the first `stage` observations."""

    stage: int
    rays: Tensor  # Φ, (detector, rank): its rows of R⁻¹ A F
    region: Tensor | None  # covariance of its rays with the region, (detector, q)


class _Region(NamedTuple):
    """The region as it was believed after as many observations as `seen` has entries."""

    rows: Tensor  # G, (q, rank): rows of F, turned into as few as the rank
    seen: tuple[Tensor, ...]  # G V at every observation, before it


class CandidateViews:
    """All candidate views under an image covariance C = F Fᵀ + diag(d): projected once, conditioned without a network.

    The candidates' rays see u of x = x̂ + F u through Φ = R⁻¹ A F, and conditioning multiplies the rows of Φ with
    `FactorDowndate`, so that every S is a sum of squares. A view is brought up to date when somebody asks for it, at
    4 (detector² · rank) operations for every observation that it has missed.

    What F leaves out, d, is white in the image, and rays of two views share a pixel or two: its part of a view's S is
    exact, and taken to be independent between views, an error of each that no other view tells anything of.

    Where F was made of K draws, what is left of it after observations comes out too small, as they use up draws:
    everything is scaled by K/(K − h), h = K − tr T Tᵀ the number of draws used up. That is right for directions that no
    observation tells of, and a little too much for others. `used_up` says when too few are left to choose by.

    Args:
        covariance: C.
        candidates: the views.
        noise: of all candidates, (angle, detector), or what can be broadcast to it.
        region: (row, col) bool, the pixels that count; all if left out.

    Raises:
        ValueError: a region that is empty or not of the image's shape, or candidates on another grid.
    """

    def __init__(
        self, covariance: ImageCovariance, candidates: Candidates, noise: Noise, *, region: Tensor | None = None
    ) -> None:
        if candidates.transform.in_shape != covariance.shape:
            raise ValueError(f"candidates must see images {covariance.shape}, got {candidates.transform.in_shape}")
        self.candidates, self._noise, self._covariance = candidates, noise, covariance
        self._mask = _checked_region(region, covariance.shape).flatten()
        rays = covariance.project(candidates.transform, noise)
        self._views = [_View(0, rays[index], None) for index in range(len(candidates))]
        self._errors = _errors(covariance.residual, candidates.transform, noise)
        self._region: _Region | None = None
        self._latent: Tensor | None = None
        if covariance.n_samples is not None:
            self._latent = torch.eye(covariance.rank, dtype=torch.float64)
        # Of the covariance's draws, those that the observations have not used up.
        self._draws_left = math.inf if covariance.n_samples is None else float(covariance.rank)
        self._downdates: tuple[FactorDowndate, ...] = ()

    def belief(self, indices: Sequence[int], *, with_region: bool = False) -> ViewBelief:
        """What is believed of these candidates.

        Args:
            indices: of the candidates.
            with_region: whether their covariance with the region is wanted as well.
        """
        views = [self._present(index, with_region=with_region) for index in indices]
        covariance = torch.stack([self._scale * view.rays @ view.rays.mT for view in views])
        if self._errors is not None:
            covariance = covariance + self._errors[list(indices)]
        if not with_region:
            return ViewBelief(covariance, None, self._draws_left)
        region = torch.stack([self._scale * view.region for view in views if view.region is not None])
        return ViewBelief(covariance, region, self._draws_left)

    def region_std(self) -> float:
        """Root mean square of the deviations of the region's pixels, in the image's unit."""
        factor = self._scale * float(self._present_region().rows.square().sum())
        return math.sqrt((factor + float(self._covariance.residual[self._mask].sum())) / int(self._mask.sum()))

    def observing(self, index: int, *, noise_factor: float = 1.0) -> CandidateViews:
        """All views had this candidate been measured too, with so many times the noise variance expected of it."""
        errors = None if self._errors is None else self._errors[index]
        return self._conditioned(self._present(index, with_region=False).rays, errors, noise_factor)

    def observing_view(self, transform: RayTransform, *, noise_factor: float = 1.0) -> CandidateViews:
        """All views had another one been measured, which need be no candidate; its noise is that of one of theirs.

        Args:
            transform: of one view.
            noise_factor: by which its noise variance is larger.
        """
        noise = self._noise.of_a_view()
        rays = self._covariance.project(transform, noise)[0]
        for downdate in self._downdates:
            rays = downdate(rays)
        errors = _errors(self._covariance.residual, transform, noise)
        return self._conditioned(rays, None if errors is None else errors[0], noise_factor)

    def _conditioned(self, rays: Tensor, errors: Tensor | None, noise_factor: float) -> CandidateViews:
        rays = rays / math.sqrt(noise_factor)
        if errors is not None:
            errors = errors / noise_factor
            root = torch.linalg.cholesky(errors + torch.eye(len(errors), dtype=errors.dtype))
            rays = torch.linalg.solve_triangular(root, rays, upper=False)
        downdate = FactorDowndate.by(rays)
        # All else is shared until somebody asks for it.
        after = copy.copy(self)
        after._views = list(self._views)  # noqa: SLF001 (its own kind)
        after._downdates = (*self._downdates, downdate)  # noqa: SLF001
        if self._latent is not None:
            after._latent = downdate(self._latent)  # noqa: SLF001
            after._draws_left = float(after._latent.square().sum())  # noqa: SLF001
        return after

    @property
    def exact(self) -> bool:
        """Whether the covariance was given rather than estimated."""
        return self._latent is None

    @property
    def n_draws(self) -> float:
        """Draws that the covariance was made of; infinite where it is exact."""
        return math.inf if self._latent is None else float(len(self._latent))

    @property
    def draws_left(self) -> float:
        """Of them, those that the observations have not used up."""
        return self._draws_left

    @property
    def used_up(self) -> bool:
        """Whether observations have left fewer than eight draws, or than a quarter of them.

        Scores are then mostly chance, and too high. The two limits are rules of thumb.
        """
        drawn = self.n_draws
        return self._draws_left < min(drawn, max(_FEWEST_DRAWS, _LEAST_SHARE * drawn))

    @property
    def _scale(self) -> float:
        return 1.0 if self._latent is None else len(self._latent) / self._draws_left

    def _present(self, index: int, *, with_region: bool) -> _View:
        """The candidate after all observations, kept for the next who asks."""
        view = self._views[index]
        rays, region = view.rays, view.region if with_region else None
        seen = self._present_region().seen if with_region else ()
        for stage in range(view.stage, len(self._downdates)):
            downdate = self._downdates[stage]
            if region is not None:
                # Φ T Tᵀ Gᵀ, as I − T Tᵀ = V diag(s²/(1 + s²)) Vᵀ.
                shrunk = (rays @ downdate.directions) * downdate.seen
                region = torch.addmm(region, shrunk, seen[stage].mT, alpha=-1)
            rays = downdate(rays)
        if with_region and region is None:
            region = rays @ self._present_region().rows.mT
        self._views[index] = _View(len(self._downdates), rays, region)
        return self._views[index]

    def _present_region(self) -> _Region:
        """The region after all observations."""
        region = self._region or _Region(_turned(self._covariance.factor[self._mask]), ())
        for downdate in self._downdates[len(region.seen) :]:
            region = _Region(downdate(region.rows), (*region.seen, region.rows @ downdate.directions))
        self._region = region
        return region


def _turned(rows: Tensor) -> Tensor:
    """Q rows with Qᵀ Q = I and no more rows than columns: sums of squares over the rows stay as they are."""
    return torch.linalg.qr(rows, mode="r").R if rows.shape[0] > rows.shape[1] else rows


def _errors(residual: Tensor, transform: RayTransform, noise: Noise) -> Tensor | None:
    """R⁻¹ A diag(d) Aᵀ R⁻ᵀ within every view, (view, detector, detector); None where d is zero."""
    if not residual.any():
        return None
    n_views, n_detectors = transform.out_shape
    matrix = transform.matrix()
    weights = sp.diags_array(residual.numpy())
    blocks = []
    for view in range(n_views):
        rays = matrix[view * n_detectors : (view + 1) * n_detectors]
        blocks.append(torch.as_tensor((rays @ weights @ rays.T).toarray()))
    errors = torch.stack(blocks, dim=1)
    for _ in range(2):
        errors = noise.whiten(errors).permute(2, 1, 0)
    return errors.transpose(0, 1)


def _checked_region(region: Tensor | None, shape: tuple[int, int]) -> Tensor:
    if region is None:
        return torch.ones(shape, dtype=torch.bool)
    if tuple(region.shape) != shape or region.dtype != torch.bool:
        raise ValueError(f"region must be {shape} bool, got {tuple(region.shape)} {region.dtype}")
    if not region.any():
        raise ValueError("region must have a pixel inside, got an empty one: draw it inside the image")
    return region
