"""Detector columns that do not measure: dead, hot or stuck, found in counts, flats and darks of one detector row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d

_NEIGHBOURS = 15  # columns whose median a column is held against
_DEAD_SHARE = 0.2  # of the neighbours' open beam; good columns of real detectors differ by a tenth or two
_HOT_SHARE = 0.1  # of the neighbours' open beam, by which a dark count exceeds theirs
_HOT_DEVIATIONS = 10.0  # robust ones, by which it does so as well
_NEAREST = 7  # columns, of which more than half have to change for a constant one among them to be stuck
_FEWEST_VIEWS = 5  # below this a constant column says nothing

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BrokenColumns:
    """Columns by what is wrong with them, each (col,) bool; a column may be in several.

    Args:
        dead: the open beam is no more than a fifth of the neighbours', or most views have no usable count where the
            neighbours' do.
        hot: the dark count is far above the neighbours', by a tenth of the open beam at least.
        stuck: the same count in every view, between columns whose counts change.
    """

    dead: Mask
    hot: Mask
    stuck: Mask

    @property
    def any(self) -> Mask:
        """(col,) bool: whether a column is broken, in whatever way."""
        return self.dead | self.hot | self.stuck

    @property
    def by_kind(self) -> dict[str, Mask]:
        """The three masks, (col,) bool each, by name."""
        return {"dead": self.dead, "hot": self.hot, "stuck": self.stuck}


def broken_columns(counts: Array, open_beam: Array, dark: Array) -> BrokenColumns:
    """Judge every column by its neighbours.

    Args:
        counts: (angle, col), NaN where there is none.
        open_beam: (col,), flat minus dark.
        dark: (col,), likewise.
    """
    width = min(_NEIGHBOURS, len(open_beam))
    usual = median_filter(np.nan_to_num(open_beam), width, mode="mirror")
    unusable = ~(counts - dark > 0)  # NaN is not
    mostly = unusable.mean(axis=0)
    dead = ~(open_beam > _DEAD_SHARE * usual) | ((mostly > 0.5) & (median_filter(mostly, width, mode="mirror") < 0.5))
    known = np.nan_to_num(dark)
    excess = known - median_filter(known, width, mode="mirror")
    deviation = 1.4826 * np.median(np.abs(excess))
    hot = (excess > _HOT_DEVIATIONS * deviation) & (excess > _HOT_SHARE * usual)
    return BrokenColumns(dead, hot, _stuck(counts))


def _stuck(counts: Array) -> Mask:
    changes = (np.diff(counts, axis=0) != 0).any(axis=0)
    if len(counts) < _FEWEST_VIEWS:
        return np.zeros_like(changes)
    # Where noise-free views see no object, whole stretches are constant, and rightly so.
    stuck: Mask = ~changes & (uniform_filter1d(changes.astype(np.float64), _NEAREST, mode="mirror") > 0.5)
    return stuck
