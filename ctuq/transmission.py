"""Line integrals and the variance of each, from counts, flats and darks of one detector row.

With counts n, mean dark d and mean open beam F (flats less darks), all in photons, the line integral is
−log((n − d + h)/F). With λ the expected count above the dark, v the variance of a single dark and u = (λ + v)/λ² that
of the relative error, h = λ u/2, a half where the dark is exact, takes the bias out of the logarithm: it falls from
u/2, at 10 photons a sixth of a deviation, to next to nothing. The variance of the line integral is then

    u − u/λ + 3/2 u² + u³    +    (F + v)/(K F²) + (1/λ − 1/F)² v/L

with K flats and L darks. The first part belongs to the ray alone; it is the expansion of log(N + h) for a Poisson count
N, right to a percent from 5 photons on. λ is estimated from a ray's neighbours (see `expected_counts`): by the count
that came, too low a count would get too large a variance, and weighted means of rays would be wrong by 1/λ. The second
part is shared by all views of a column.

What a column's views share is in the variance of every single ray, so whitened residuals have variance 1; but those of
one column are correlated, and a likelihood of independent rays does not know it. A mean over V views cannot be better
than 1/(photons in all flats), which images show as rings. The steps say when that exceeds what V independent rays
leave: when all flats together hold fewer photons than all views of a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctuq.amount import amount
from ctuq.broken_columns import BrokenColumns, broken_columns
from ctuq.errors import InputError
from ctuq.expected_counts import expected_counts
from ctuq.masked_rays import MASKED_VARIANCE, interpolated_rows
from ctuq.missing_counts import require_counts
from ctuq.processing_step import ProcessingStep

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NO_COUNT = 1e60  # no detector counts so far, and squares of it would overflow
_SMALLEST_EXPECTED = 1.0  # photons; below, the variance of the logarithm is no more than a guess
_FEW_PHOTONS = 5.0  # below, the logarithm is biased in spite of the half, as rays of zero counts are left out


@dataclass(frozen=True, eq=False)
class Transmission:
    """What counts say of line integrals.

    Args:
        line_integrals: (angle, col) float64, dimensionless; masked rays are interpolated along their view.
        variance: (angle, col) float64, of each; huge for masked rays.
        steps: what was done and found, with the numbers.
    """

    line_integrals: Array
    variance: Array
    steps: tuple[ProcessingStep, ...]


def line_integrals(counts: ArrayLike, flats: ArrayLike, darks: ArrayLike) -> Transmission:
    """Correct one detector row by flats and darks, take the logarithm, and say how noisy every ray is.

    Rays whose count is NaN or infinite, below the dark or zero have no logarithm: they are counted, each kind for
    itself, masked and given a huge variance. So are columns found dead, hot or stuck. NaN of flats and darks are left
    out of their mean.

    Args:
        counts: (angle, col), of one a photon; where a photon gives more, variances of few photons come out too small.
        flats: open-beam frames (n, col), one frame (col,), or one number, which counts as exact.
        darks: frames without beam, likewise; 0 where there are none.

    Raises:
        InputError: shapes that do not belong together, not one usable count, or as `require_counts`.
    """
    photons = _array(counts, "counts")
    if photons.ndim != 2 or not photons.size:
        raise InputError(f"expected counts (angle, column), got shape {photons.shape}: give one detector row")
    require_counts(photons, "views")
    flat, dark = (_Frames.of(values, name, photons.shape[1]) for values, name in ((flats, "flats"), (darks, "darks")))
    require_counts(flat.values, "flats")
    require_counts(dark.values, "darks", may_be_zero=True)
    open_beam = flat.mean - dark.mean
    broken = broken_columns(photons, open_beam, dark.mean)
    signal = photons - dark.mean
    unusable = _unusable(photons, signal)
    masked = np.logical_or.reduce(list(unusable.values())) | broken.any
    if masked.all():
        raise InputError(
            "expected counts above the darks in some ray, got none: are flats and darks swapped, or is the row dark?"
        )
    dark_variance = np.full(photons.shape[1], dark.scatter(~broken.any))
    beam = np.where(masked, 0.0, open_beam)
    expected = np.maximum(expected_counts(signal, beam, dark_variance), _SMALLEST_EXPECTED)
    relative = (expected + dark_variance) / expected**2
    own = relative - relative / expected + 1.5 * relative**2 + relative**3
    with np.errstate(invalid="ignore", divide="ignore"):  # of masked rays, which are replaced at once
        values = -np.log((signal + 0.5 * expected * relative) / open_beam)
        shared = flat.error_of_mean(open_beam + dark_variance) / open_beam**2
        shared = shared + (1 / expected - 1 / open_beam) ** 2 * dark.error_of_mean(dark_variance)
    variance = np.where(masked, 1.0, own + shared)
    variance[masked] = MASKED_VARIANCE / (1 / variance[~masked]).mean()
    steps = (
        _correction(flat, dark, open_beam[~broken.any]),
        *_found(broken),
        *_masked(unusable, broken.any),
        _noise(expected, own, shared, masked),
    )
    return Transmission(interpolated_rows(values, ~masked), variance, steps)


@dataclass(frozen=True, eq=False)
class _Frames:
    """Flats or darks, (frame, col) in photons, NaN where there is no count; one number counts as exact."""

    values: Array
    exact: bool

    @classmethod
    def of(cls, values: ArrayLike, name: str, n_columns: int) -> _Frames:
        frames = _array(values, name)
        if frames.size == 1:
            return cls(np.full((1, n_columns), float(frames.reshape(-1)[0])), exact=True)
        frames = np.atleast_2d(frames)
        if frames.ndim != 2 or frames.shape[1] != n_columns or not len(frames):
            raise InputError(
                f"expected {name} (frame, column) of the counts' {n_columns} columns, or one number, got shape "
                f"{np.shape(values)}: take the same detector row of them"
            )
        return cls(frames, exact=False)

    @property
    def mean(self) -> Array:
        """(col,), NaN where no frame has a count."""
        return np.where(self._known.any(axis=0), np.nansum(self.values, axis=0) / self._n_known, np.nan)

    def scatter(self, good: Mask) -> float:
        """Variance of a single frame, photons²: seen, or of photons if there is one frame; 0 for an exact number."""
        if self.exact:
            return 0.0
        if len(self.values) == 1:
            return float(np.maximum(self.mean[good], 0).mean())
        squares = np.nansum((self.values[:, good] - self.mean[good]) ** 2)
        return float(squares / np.maximum((self._n_known[good] - 1).sum(), 1))

    def error_of_mean(self, variance: Array) -> Array:
        """Variance of the mean frame, where a single one has `variance`."""
        return np.asarray(np.zeros_like(variance) if self.exact else variance / self._n_known)

    @property
    def _known(self) -> Mask:
        return ~np.isnan(self.values)

    @property
    def _n_known(self) -> Array:
        """(col,), 1 where there is none."""
        return np.asarray(np.maximum(self._known.sum(axis=0), 1.0))


def _array(values: ArrayLike, name: str) -> Array:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {name} as numbers, got {type(values).__name__} ({error})") from error
    return np.asarray(np.where(np.abs(numbers) < _NO_COUNT, numbers, np.nan))


def _unusable(photons: Array, signal: Array) -> dict[str, Mask]:
    """Rays without a logarithm, by why."""
    missing = np.isnan(signal)
    zero = ~missing & ((photons == 0) | (signal == 0))
    return {"nan": missing, "zero": zero, "negative": ~missing & ~zero & (signal < 0)}


def _correction(flat: _Frames, dark: _Frames, open_beam: Array) -> ProcessingStep:
    photons = float(np.median(open_beam)) if len(open_beam) else 0.0
    numbers = {"flats": 0 if flat.exact else len(flat.values), "darks": 0 if dark.exact else len(dark.values)}
    used = ", ".join(f"{n} {name}" if n else f"one number for {name}" for name, n in numbers.items())
    return ProcessingStep(
        "flat and dark correction", f"corrected by {used}: {photons:.4g} photons before the object",
        {**numbers, "open_beam_photons": photons},
    )  # fmt: skip


def _found(broken: BrokenColumns) -> Iterator[ProcessingStep]:
    for kind, columns in broken.by_kind.items():
        if columns.any():
            indices = tuple(np.flatnonzero(columns).tolist())
            text = f"masked {amount(len(indices), f'{kind} detector column')}: {_listed(indices)}"
            yield ProcessingStep(f"{kind} columns", text, {"columns": indices})


def _listed(indices: tuple[int, ...], most: int = 12) -> str:
    more = f" and {len(indices) - most} more" if len(indices) > most else ""
    return ", ".join(map(str, indices[:most])) + more


_WHY = {
    "nan": "the count is NaN or infinite",
    "zero": "the count is zero",
    "negative": "the count is below the dark",
}


def _masked(unusable: Mapping[str, Mask], broken: Mask) -> Iterator[ProcessingStep]:
    for kind, rays in unusable.items():
        n_rays = int((rays & ~broken).sum())
        if n_rays:
            yield ProcessingStep(
                f"{kind} counts",
                f"masked {n_rays:,} of {rays.size:,} rays (broken columns aside): {_WHY[kind]}",
                {"rays": n_rays},
            )


def _noise(expected: Array, own: Array, shared: Array, masked: Mask) -> ProcessingStep:
    known = ~masked
    fewest = float(expected[known].min())
    numbers = {
        "fewest_expected_photons": fewest,
        "rays_below_5_photons": int((expected[known] < _FEW_PHOTONS).sum()),
        "shared_over_independent": float((shared[known].mean() / own[known].mean()) * len(own)),
    }
    text = f"variance of every ray from its expected count, {fewest:.3g} photons and more"
    if numbers["rays_below_5_photons"]:
        text += (
            f"; fewer than {_FEW_PHOTONS:g} photons expected in {amount(int(numbers['rays_below_5_photons']), 'ray')}, "
            "whose line integrals are biased: take longer exposures"
        )
    if numbers["shared_over_independent"] > 1:
        text += (
            "; flats and darks hold fewer photons than all views of a column, so expect rings that the error bars do "
            "not know: take more flats"
        )
    return ProcessingStep("noise from counts", text, numbers)
