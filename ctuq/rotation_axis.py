"""Where the rotation axis projects onto the detector, found from the rays themselves, and how surely.

Parallel views half a turn apart are registered with each other's mirror image (`ctuq.mirrored_views`). That needs such
pairs and says nothing of the views in between; so it is where a second search starts: of the axis with which the
filtered back-projection is sharpest, the sum of its absolute values least beside the root of the sum of its squares.
Over half a turn a wrong axis smears every edge into arcs of both signs, which the first counts (Donath et al. 2006,
JOSA A 23, 1048, criterion Q_IA); over a full turn it blurs, and lessens the second. It serves fans too, and searches
alone where there are no pairs. Views that do not go round have streaks of both signs whatever the axis: there it
misleads, and parallel views have their centres of mass only, which move by a sine about the axis.

algotom and TomoPy have such methods for parallel rays over half a turn. They do not say how sure they are, which is
what an image with error bars has to know; and algotom needs numba, TomoPy a build of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ctuq.mirrored_views import half_turn_pairs, paired_axis
from ctuq.processing_step import ProcessingStep, StepValue
from operators import FanBeam, Geometry, ImageGrid, filtered_back_projection

_SEARCHED = 0.25  # of the detector to either side of its centre, where there are no pairs
_NEAR = 6.0  # columns to either side that are searched finely, or more where the detector has many
_STEPS = 10  # to either side
_FOLDS = 4  # interleaved sets of views, whose scatter is the standard error
_MOST_PIXELS, _MOST_VIEWS, _COARSE_DETECTORS = 128, 180, 128
_UNSEEN_ERROR = 0.4  # columns, of centres of mass: what a drift of the beam did to the tooth's
_STEADY_MASS = 0.02  # relative scatter of the views' sums
_WIDEST_GAP = 2.5  # times the gap between views, or 5 degrees: more, and a part of the turn is missing
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
    parallel, rows = not isinstance(geometry, FanBeam), sinogram.double().cpu().numpy()
    pairs = half_turn_pairs(geometry.angles_rad) if parallel else []
    found = {}
    if pairs:
        paired = paired_axis(rows, pairs)
        found["mirrored views"] = (paired.cor_index, paired.standard_error)
    elif parallel and not _goes_round(geometry):
        found["centres of mass"] = _by_centres_of_mass(geometry, rows)
    if _goes_round(geometry) and geometry.n_angles >= 2 * _FOLDS:
        start = found["mirrored views"][0] if pairs else _coarse(geometry, sinogram)
        found["sharpest image"] = _by_sharpness(geometry, sinogram, start, on_step)
    return _judged(geometry, {name: one for name, one in found.items() if np.isfinite(one).all()})


def _judged(geometry: Geometry, found: dict[str, tuple[float, float]]) -> RotationAxis:
    """All findings in one, weighted by their precision; where they disagree, known no better than that."""
    numbers: dict[str, StepValue] = {}
    for name, (index, error) in found.items():
        numbers |= {f"{name}: cor_index": index, f"{name}: standard_error": error}
    weights = {name: 1 / max(error, 1e-3) ** 2 for name, (_, error) in found.items()}
    total = sum(weights.values())
    index = sum(weights[name] * found[name][0] for name in found) / total if found else math.nan
    spread = max((abs(first - second) for first, _ in found.values() for second, _ in found.values()), default=math.inf)
    error = max(total**-0.5, spread / 2) if found else math.inf
    limit = max(1.0, _LARGEST_ERROR * geometry.n_detectors)
    if not error <= limit:
        kept = geometry.axis_index
        text = (
            f"looked for the rotation axis and did not find it to {limit:.2g} detector pixels: kept detector index "
            f"{kept:.6g}; if that is wrong, give it as preprocessing.centre"
        )
        return RotationAxis(kept, math.nan, ProcessingStep("rotation axis", text, {**numbers, "cor_index": kept}))
    text = f"rotation axis at detector index {index:.2f} ± {error:.2g}, by {' and '.join(found)}"
    numbers |= {"cor_index": index, "standard_error": error}
    return RotationAxis(index, error, ProcessingStep("rotation axis", text, numbers))


def _goes_round(geometry: Geometry) -> bool:
    """Whether every point is seen from half a turn of directions, but for gaps as between views."""
    turn, seen = math.pi, 0.0
    if isinstance(geometry, FanBeam):
        distance = geometry.source_origin_mm + geometry.origin_detector_mm
        turn, seen = 2 * math.pi, math.pi - 2 * math.atan(geometry.n_detectors * geometry.pitch_mm / 2 / distance)
    angles = np.unique(np.asarray(geometry.angles_rad) % turn)
    gaps = np.diff(np.append(angles, angles[0] + turn))
    return bool(gaps.max() <= max(seen, _WIDEST_GAP * float(np.median(gaps)), math.radians(5)))


def _by_centres_of_mass(geometry: Geometry, rows: Array) -> tuple[float, float]:
    """The axis and its standard error; NaN where views cut the object off, so that their sums differ.

    Air that is not quite zero has its centre of mass in the detector's middle: the error that this can make is added.
    """
    mass = rows.sum(axis=1)
    if geometry.n_angles < 6 or mass.std() > _STEADY_MASS * abs(mass.mean()):
        return math.nan, math.nan
    angles, places = np.asarray(geometry.angles_rad), np.arange(geometry.n_detectors)
    sine = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    centres = rows @ places / mass
    solution = np.linalg.lstsq(sine, centres, rcond=None)[0]
    scatter = np.square(centres - sine @ solution).sum() / (len(angles) - 3) * np.linalg.pinv(sine.T @ sine)[0, 0]
    border = max(1, geometry.n_detectors // 50)
    air = abs(float(np.median(np.concatenate([rows[:, :border], rows[:, -border:]], axis=1))))
    pulled = air * geometry.n_detectors * abs(solution[0] - (geometry.n_detectors - 1) / 2) / abs(mass.mean())
    return float(solution[0]), float(math.hypot(math.sqrt(scatter) + pulled, _UNSEEN_ERROR))


def _by_sharpness(
    geometry: Geometry, sinogram: Tensor, start: float, on_step: Callable[[int, int], None] | None
) -> tuple[float, float]:
    """The axis with the sharpest image near `start`, and its standard error by interleaved sets of the views."""
    views = range(0, geometry.n_angles, max(1, math.ceil(geometry.n_angles / _MOST_VIEWS)))
    found = []
    for done, some in enumerate([views, *(views[fold::_FOLDS] for fold in range(_FOLDS))]):
        if on_step is not None:
            on_step(done, _FOLDS + 1)
        found.append(_sharpest(geometry.select(list(some)), sinogram[list(some)], start))
    if on_step is not None:
        on_step(_FOLDS + 1, _FOLDS + 1)
    return found[0], float(np.std(found[1:], ddof=1)) / math.sqrt(_FOLDS)


def _coarse(geometry: Geometry, sinogram: Tensor) -> float:
    """The axis with the sharpest small image, anywhere in the middle half of the detector."""
    factor = max(1, geometry.n_detectors // _COARSE_DETECTORS)
    small = geometry.binned(factor)
    rows = sinogram[:, : small.n_detectors * factor].reshape(geometry.n_angles, -1, factor).mean(dim=2)
    middle, reach = (small.n_detectors - 1) / 2, _SEARCHED * small.n_detectors
    trials = np.arange(middle - reach, middle + reach + 0.5)
    inside = _radius_mm(small, 0.0)  # parts of it are not seen from everywhere, but alike for all trials
    values = [_bluntness(small, rows, float(trial), inside) for trial in trials]
    return float(trials[int(np.argmin(values))]) * factor + (factor - 1) / 2


def _sharpest(geometry: Geometry, sinogram: Tensor, start: float) -> float:
    """The axis with the sharpest image near `start`, to a fraction of a column; NaN if it lies beyond.

    Bluntness falls and rises linearly with the axis' distance, rounded off where that is about a column: a hyperbola
    fitted to all trials is less rough than they are.
    """
    reach = max(_NEAR, 0.01 * geometry.n_detectors)
    offsets = np.linspace(-reach, reach, 2 * _STEPS + 1)
    inside = _radius_mm(geometry, abs(start - (geometry.n_detectors - 1) / 2) + reach)
    values = np.array([_bluntness(geometry, sinogram, float(start + offset), inside) for offset in offsets])
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


def _bluntness(geometry: Geometry, sinogram: Tensor, cor_index: float, radius_mm: float) -> float:
    """Of the back-projection in the disc: the less, the sharper."""
    pixels = min(_MOST_PIXELS, geometry.n_detectors)
    grid = ImageGrid(shape=(pixels, pixels), pixel_mm=2 * radius_mm / pixels)
    trial = replace(geometry, grid=grid, cor_index=cor_index)
    image = filtered_back_projection(trial, sinogram.float(), window="hann")
    inside = grid.x_mm()[None].hypot(grid.y_mm()[:, None]) < radius_mm
    values = image[inside].double()
    return float(values.abs().sum() / values.square().sum().sqrt().clamp(min=1e-300))
