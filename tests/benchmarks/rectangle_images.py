"""Images of rectangles that share a direction, as METHOD's study of planning has them, and their scans.

Three rectangles a side by side or over one another, of value U(0.5, 1), half-sides U(0.1, 0.8) and centres
U(-0.75, 0.75) in units of half the image, each rotated by N(direction, 0.05 rad), direction U(0, π) for each image;
averaged over 8 x 8 points a pixel and divided by their largest value (after arXiv 2207.05714).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

import ctuq
from operators import ImageGrid, ParallelBeam, RayTransform

N_CANDIDATES = 200
TEST, VALIDATION = 0, 1_000  # the first index of each
_POINTS = 8  # a pixel and axis
_SEED = 20_000
_DETECTORS = 183 / 128  # per pixel of the image's side


def rectangles(index: int, size: int) -> NDArray[np.float64]:
    """(row, col) in [0, 1]."""
    random = np.random.default_rng(_SEED + index)
    direction = random.uniform(0, math.pi)
    line = (np.arange(size * _POINTS) + 0.5) / (size * _POINTS) * 2 - 1
    x, y = np.meshgrid(line, line)
    image = np.zeros_like(x)
    for _ in range(3):
        value = random.uniform(0.5, 1)
        half_sides, centre = random.uniform(0.1, 0.8, 2), random.uniform(-0.75, 0.75, 2)
        turn = random.normal(direction, 0.05)
        along = (x - centre[0]) * math.cos(turn) + (y - centre[1]) * math.sin(turn)
        across = (y - centre[1]) * math.cos(turn) - (x - centre[0]) * math.sin(turn)
        image += value * ((np.abs(along) < half_sides[0]) & (np.abs(across) < half_sides[1]))
    pixels: NDArray[np.float64] = image.reshape(size, _POINTS, size, _POINTS).mean(axis=(1, 3))
    pixels /= pixels.max()
    return pixels


def rectangle_scan(index: int, size: int, noise: float) -> ctuq.Scan:
    """All candidate views over 180 degrees, with white noise of `noise` times the mean line integral."""
    n_detectors = round(_DETECTORS * size)
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(size, size), pixel_mm=1.0),
        angles_rad=np.arange(N_CANDIDATES) * math.pi / N_CANDIDATES,
        n_detectors=n_detectors,
        pitch_mm=size * math.sqrt(2) / n_detectors,
    )
    clean = RayTransform(geometry)(torch.as_tensor(rectangles(index, size))).numpy()
    error = noise * np.abs(clean).mean() * np.random.default_rng(1 + index).standard_normal(clean.shape)
    return ctuq.Scan(clean + error, geometry, name=f"rectangles {index}")
