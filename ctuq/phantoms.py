"""Objects to simulate scans of: the Shepp-Logan head, in a slice or whole, random rectangles, or a picture."""

from __future__ import annotations

import math
from pathlib import Path

import astra
import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.data import shepp_logan_phantom
from skimage.draw import polygon2mask
from skimage.io import imread
from skimage.transform import resize

from ctuq.errors import InputError

PHANTOMS = ("shepp-logan", "rectangles")
PICTURES = (".npy", ".png", ".tif", ".tiff")

_FINER = 4  # rectangles are drawn on so many pixels a pixel, so that their edges are smooth

Image = NDArray[np.float64]


def phantom(name: str, size: int, *, rng: np.random.Generator) -> Image:
    """A square image (size, size) from 0 to 1.

    Args:
        name: one of `PHANTOMS`, or a picture's path: .npy (row, col), .png or .tif, padded to a square.
        size: pixels a side.
        rng: of the rectangles.

    Raises:
        InputError: no such phantom, or a picture that is none.
    """
    if name == "shepp-logan":
        image = np.asarray(shepp_logan_phantom(), dtype=np.float64)  # type: ignore[no-untyped-call]
    elif name == "rectangles":
        image = _rectangles(_FINER * size, rng)
    else:
        image = _padded(_picture(Path(name)))
    resized: Image = resize(image, (size, size), order=1, anti_aliasing=True)  # type: ignore[no-untyped-call]
    scaled: Image = resized / resized.max()
    return scaled


def volume_phantom(name: str, size: int) -> Image:
    """A cube (slice, row, col) of `size` voxels a side, from 0 to 1: ASTRA's modified Shepp-Logan head.

    Args:
        name: shepp-logan.
        size: voxels a side.

    Raises:
        InputError: another phantom, which is a slice.
    """
    if name != "shepp-logan":
        raise InputError(f"expected --phantom shepp-logan with a cone beam, got {name}: other phantoms are slices")
    number, head = astra.data3d.shepp_logan(astra.create_vol_geom(size, size, size))
    astra.data3d.delete(number)
    return np.asarray(head, dtype=np.float64)


def _rectangles(size: int, rng: np.random.Generator) -> Image:
    """Three that add up, nearly aligned with one direction (arXiv 2207.05714)."""
    direction = rng.uniform(0, math.pi)
    image = np.zeros((size, size))
    for _ in range(3):
        value, half_sides, centre = rng.uniform(0.5, 1), rng.uniform(0.1, 0.8, 2), rng.uniform(-0.75, 0.75, 2)
        angle = rng.normal(direction, 0.05)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        corners = centre + (np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half_sides) @ turn.T
        inside = polygon2mask(image.shape, (corners + 1) / 2 * size - 0.5)  # type: ignore[no-untyped-call]
        image += value * inside
    return image


def _picture(path: Path) -> Image:
    if path.suffix.lower() not in PICTURES:
        raise InputError(f"expected a phantom {' or '.join(PHANTOMS)}, or a picture {', '.join(PICTURES)}, got {path}")
    if not path.is_file():
        raise InputError(f"{path}: expected a picture, got no such file: check the path")
    try:
        values = np.load(path) if path.suffix.lower() == ".npy" else imread(path)
        image = np.asarray(rgb2gray(values[..., :3]) if values.ndim == 3 else values, dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a picture of gray values, got: {error}") from error
    if image.ndim != 2 or not np.isfinite(image).all() or image.min(initial=0) < 0 or not image.any():
        raise InputError(
            f"{path}: expected finite gray values (row, col), none negative and some above 0, got shape {image.shape}: "
            "they become attenuations"
        )
    return image


def _padded(image: Image) -> Image:
    missing = [max(image.shape) - n for n in image.shape]
    return np.pad(image, [(n // 2, n - n // 2) for n in missing])
