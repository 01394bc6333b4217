"""Where the rotation axis projects onto the detector, found from the rays themselves, and how surely.

Parallel views half a turn apart are registered with each other's mirror image (`ctuq.mirrored_views`). That needs such
pairs and says nothing of the views in between; so it is where a second search starts: of the axis with which the
filtered back-projection has the least integral of its absolute value (Donath et al. 2006, JOSA A 23, 1048, criterion
Q_IA). A wrong axis smears every edge into arcs of both signs, which that integral counts. It serves fans and any range
of angles, and searches alone where there are no pairs.

algotom and TomoPy have such methods for parallel rays over half a turn. They do not say how sure they are, which is what
an image with error bars has to know; and algotom needs numba, TomoPy a build of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctuq.mirrored_views import PairedAxis, half_turn_pairs, paired_axis
from ctuq.processing_step import ProcessingStep, StepValue
from operators import FanBeam, Geometry, ImageGrid, filtered_back_projection

_SEARCHED = 0.25  # of the detector to either side of its centre, where there are no pairs
_NEAR = 6.0  # columns to either side that are searched finely, or more where the detector has many
_STEPS = 12  # to either side
_FOLDS = 4  # interleaved sets of views, whose scatter is the standard error
_MOST_PIXELS, _MOST_VIEWS, _COARSE_DETECTORS = 160, 180, 128
_STEADY_MASS = 0.02  # relative scatter of the views' sums
_LARGEST_ERROR = 0.01  # of the detector: what is known less well than this is not known

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RotationAxis:
    """The axis that was found, or the one that was kept because none was.

    Args:
        cor_index: detector index.
        standard_error: of it, in columns; NaN where none was found.
        step: what was done, with the numbers.
    """

    cor_index: float
    standard_error: float
    step: ProcessingStep


def find_rotation_axis(
    geometry: Geometry, sinogram: Tensor, *, on_step: Callable[[int, int], None] | None = None
) -> RotationAxis:
    """Find the axis of a scan; where the rays do not tell, keep that of `geometry` and say so.

    Args:
        geometry: of the scan; its `axis_index` is the fallback.
        sinogram: (angle, detector) line integrals, masked rays interpolated.
        on_step: called as (searches done, searches).
    """
    pairs = [] if isinstance(geometry, FanBeam) else half_turn_pairs(geometry.angles_rad)
    paired = paired_axis(sinogram.double().cpu().numpy(), pairs) if pairs else None
    start = _unpaired_start(geometry, sinogram) if paired is None else paired.cor_index
    views = range(0, geometry.n_angles, max(1, math.ceil(geometry.n_angles / _MOST_VIEWS)))
    folds = [views[fold::_FOLDS] for fold in range(_FOLDS)]
    found = []
    for done, some in enumerate([views, *folds]):
        if on_step is not None:
            on_step(done, _FOLDS + 1)
        found.append(_sharpest(geometry.select(list(some)), sinogram[list(some)], start))
    if on_step is not None:
        on_step(_FOLDS + 1, _FOLDS + 1)
    sharpest, scatter = found[0], float(np.std(found[1:], ddof=1)) / math.sqrt(_FOLDS)
    return _judged(geometry, paired, sharpest, scatter)


def _judged(geometry: Geometry, paired: PairedAxis | None, sharpest: float, scatter: float) -> RotationAxis:
    """Both findings in one, weighted by their precision; where they disagree, known no better than that."""
    index, error = sharpest, scatter
    numbers: dict[str, StepValue] = {"sharpest_image": sharpest, "sharpest_image_standard_error": scatter}
    if paired is not None:
        numbers |= {"pairs": paired.n_pairs, "pairs_say": paired.cor_index}
        numbers["pairs_standard_error"] = paired.standard_error
        if not math.isfinite(sharpest):
            index, error = paired.cor_index, paired.standard_error
        else:
            weights = [1 / max(one, 1e-3) ** 2 for one in (paired.standard_error, scatter)]
            index = (weights[0] * paired.cor_index + weights[1] * sharpest) / sum(weights)
            error = max(sum(weights) ** -0.5, abs(paired.cor_index - sharpest) / 2)
    limit = max(1.0, _LARGEST_ERROR * geometry.n_detectors)
    if not (math.isfinite(index) and error <= limit):
        kept = geometry.axis_index
        text = (
            f"looked for the rotation axis and did not find it (known to {error:.2g} columns, where {limit:.2g} are "
            f"wanted): kept detector index {kept:.6g}; give it as preprocessing.centre if that is wrong"
        )
        return RotationAxis(kept, math.nan, ProcessingStep("rotation axis", text, {**numbers, "cor_index": kept}))
    how = "the sharpest image" if paired is None else f"{paired.n_pairs} pairs of mirrored views and the sharpest image"
    text = f"rotation axis at detector index {index:.2f} ± {error:.2f}, by {how}"
    numbers |= {"cor_index": index, "standard_error": error}
    return RotationAxis(index, error, ProcessingStep("rotation axis", text, numbers))


def _unpaired_start(geometry: Geometry, sinogram: Tensor) -> float:
    """About where the axis is, without pairs of views.

    The centre of mass of parallel views moves by a sine about it, if no view cuts the object off, so that all have the
    same mass; to a column or so, as air is never quite zero.
    """
    mass = sinogram.double().sum(dim=1).cpu().numpy()
    if isinstance(geometry, FanBeam) or geometry.n_angles < 6 or mass.std() > _STEADY_MASS * abs(mass.mean()):
        return _coarse(geometry, sinogram)
    places = np.arange(geometry.n_detectors)
    angles = np.asarray(geometry.angles_rad)
    sine = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    return float(np.linalg.lstsq(sine, sinogram.double().cpu().numpy() @ places / mass, rcond=None)[0][0])


def _coarse(geometry: Geometry, sinogram: Tensor) -> float:
    """The axis with the sharpest small image, anywhere in the middle half of the detector."""
    factor = max(1, geometry.n_detectors // _COARSE_DETECTORS)
    small = geometry.binned(factor)
    rows = sinogram[:, : small.n_detectors * factor].reshape(geometry.n_angles, -1, factor).mean(dim=2)
    middle, reach = (small.n_detectors - 1) / 2, _SEARCHED * small.n_detectors
    trials = np.arange(middle - reach, middle + reach + 0.5)
    inside = _radius_mm(small, 0.0)  # parts of it are not seen from everywhere, but alike for all trials
    values = [_absolute(small, rows, float(trial), inside) for trial in trials]
    return float(trials[int(np.argmin(values))]) * factor + (factor - 1) / 2


def _sharpest(geometry: Geometry, sinogram: Tensor, start: float) -> float:
    """The axis with the sharpest image near `start`, to a fraction of a column; NaN if it lies beyond.

    The integral falls and rises linearly with the axis' distance, rounded off where that is about a column: a hyperbola
    fitted to all trials is less rough than they are.
    """
    reach = max(_NEAR, 0.01 * geometry.n_detectors)
    offsets = np.linspace(-reach, reach, 2 * _STEPS + 1)
    inside = _radius_mm(geometry, abs(start - (geometry.n_detectors - 1) / 2) + reach)
    values = np.array([_absolute(geometry, sinogram, float(start + offset), inside) for offset in offsets])
    centres = np.linspace(-reach, reach, 801)
    left = [_left_over(np.hypot(offsets - centre, 1.0), values) for centre in centres]
    best = int(np.argmin(left))
    return start + float(centres[best]) if 0 < best < len(centres) - 1 else math.nan


def _left_over(shape: Array, values: Array) -> float:
    """Sum of squares after a straight line in `shape`, rising, is taken from `values`."""
    shape, values = shape - shape.mean(), values - values.mean()
    slope = max(0.0, float(shape @ values) / float(shape @ shape))
    return float(np.square(values - slope * shape).sum())


def _radius_mm(geometry: Geometry, offset: float) -> float:
    """Of the disc that every view sees whichever axis, up to `offset` columns off the centre, is tried."""
    return 0.9 * max(geometry.n_detectors / 2 - offset, 2.0) * geometry.pitch_mm / geometry.magnification


def _absolute(geometry: Geometry, sinogram: Tensor, cor_index: float, radius_mm: float) -> float:
    """Integral of the absolute back-projection over the disc, up to a factor."""
    pixels = min(_MOST_PIXELS, geometry.n_detectors)
    grid = ImageGrid(shape=(pixels, pixels), pixel_mm=2 * radius_mm / pixels)
    trial = replace(geometry, grid=grid, cor_index=cor_index)
    image = filtered_back_projection(trial, sinogram.float(), window="hann")
    inside = grid.x_mm()[None].hypot(grid.y_mm()[:, None]) < radius_mm
    return float(image[inside].abs().sum(dtype=torch.float64))


