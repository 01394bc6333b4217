"""A scan of 20 pixels with eight candidate views, and everything about it written out as dense matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from design import Candidates, CandidateViews, ImageCovariance, Plan
from dip import DensePosterior
from operators import FanBeam, GaussianNoise, ImageGrid, ParallelBeam
from tests.dip.dense import conditioned, dense, positive_definite, randn

SHAPE = (4, 5)
N_PIXELS = 20
N_DETECTORS = 6
N_VIEWS = 8
GRID = ImageGrid(shape=SHAPE)
ANGLES = tuple(0.1 + view * math.pi / N_VIEWS for view in range(N_VIEWS))
PARALLEL = ParallelBeam(grid=GRID, angles_rad=ANGLES, n_detectors=N_DETECTORS)
FAN = FanBeam(
    grid=GRID, angles_rad=ANGLES, n_detectors=N_DETECTORS, pitch_mm=1.5, source_origin_mm=20.0, origin_detector_mm=5.0
)
REGION = torch.arange(N_PIXELS).reshape(SHAPE) % 3 == 0
CANDIDATES = Candidates(PARALLEL)


def covariance(seed: int = 0, *, rank: int = N_PIXELS, residual: float = 0.0) -> ImageCovariance:
    factor = randn(N_PIXELS, rank, seed=seed) / math.sqrt(rank)
    left_out = residual * (0.5 + randn(N_PIXELS, seed=seed + 1).square())
    return ImageCovariance(SHAPE, factor, left_out)


def full(image: ImageCovariance) -> Tensor:
    return image.factor @ image.factor.mT + torch.diag(image.residual)


def noise(seed: int = 0, *, shared: bool = False) -> GaussianNoise:
    variance = 0.05 + 0.1 * randn(N_VIEWS, N_DETECTORS, seed=seed + 2).square()
    return GaussianNoise(variance, 0.1 * positive_definite(N_DETECTORS, seed=seed + 3) if shared else None)


def noise_matrices(errors: GaussianNoise) -> Tensor:
    """(view, detector, detector)."""
    variance = torch.as_tensor(errors.variance, dtype=torch.float64).expand(N_VIEWS, N_DETECTORS)
    own = torch.diag_embed(variance)
    return own if errors.view_covariance is None else own + errors.view_covariance


def rays(index: int) -> Tensor:
    """A of one candidate, (detector, pixel)."""
    return dense(CANDIDATES.transform)[index * N_DETECTORS : (index + 1) * N_DETECTORS]


def given(image: Tensor, measured: list[int], errors: GaussianNoise) -> Tensor:
    """The image's covariance once these candidates were measured."""
    if not measured:
        return image
    seen = torch.cat([rays(index) for index in measured])
    error = torch.block_diag(*[noise_matrices(errors)[index] for index in measured])  # type: ignore[no-untyped-call]
    return conditioned(image, seen, error)


def own_covariance(image: Tensor, index: int, errors: GaussianNoise) -> Tensor:
    """S of one candidate in units of its noise."""
    root = torch.linalg.cholesky(noise_matrices(errors)[index])
    half: Tensor = torch.linalg.solve(root, rays(index))
    return half @ image @ half.mT


def information(image: Tensor, indices: list[int], errors: GaussianNoise) -> float:
    """½ log|I + S| in nats of all rays of these candidates together."""
    whole = [torch.linalg.solve(torch.linalg.cholesky(noise_matrices(errors)[i]), rays(i)) for i in indices]
    seen = torch.cat([torch.zeros(0, N_PIXELS, dtype=torch.float64), *whole])
    return 0.5 * float(torch.linalg.slogdet(torch.eye(len(seen), dtype=torch.float64) + seen @ image @ seen.mT)[1])


def views(seed: int = 0, *, measured: tuple[int, ...] = (), residual: float = 0.0) -> CandidateViews:
    found = CandidateViews(covariance(seed, residual=residual), CANDIDATES, noise(seed), region=REGION)
    for index in measured:
        found = found.observing(index)
    return found


def posterior(seed: int = 0) -> DensePosterior:
    """Of the scene once its first candidate was measured."""
    factor = randn(N_PIXELS, N_PIXELS, seed=seed) / math.sqrt(N_PIXELS)
    return DensePosterior(
        CANDIDATES.transform.select([0]), factor, noise=GaussianNoise(0.1), mean=randn(*SHAPE, seed=seed + 5)
    )


def degrees(plan: Plan) -> list[float]:
    return [round(math.degrees(angle), 6) for angle in plan.angles_rad.tolist()]
