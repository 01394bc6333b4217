from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ctuq.broken_columns import BrokenColumns, broken_columns

N_VIEWS, N_COLUMNS = 40, 100
Array = NDArray[np.float64]


def row(seed: int = 0) -> tuple[Array, Array, Array]:
    """Counts, open beam and dark of a good detector whose columns differ by a tenth."""
    rng = np.random.default_rng(seed)
    dark = rng.normal(100, 2, N_COLUMNS)
    open_beam = 1e4 * (1 + 0.1 * rng.standard_normal(N_COLUMNS)).clip(0.7, 1.3)
    through = np.exp(-2 * np.hypot(*np.meshgrid(np.linspace(-1, 1, N_COLUMNS), np.linspace(0, 1, N_VIEWS))))
    return rng.poisson(dark + open_beam * through).astype(float), open_beam, dark


def indices(found: BrokenColumns) -> dict[str, list[int]]:
    return {kind: np.flatnonzero(columns).tolist() for kind, columns in found.by_kind.items()}


@pytest.mark.parametrize("seed", range(5))
def test_a_good_detector_has_none(seed: int) -> None:
    assert not broken_columns(*row(seed)).any.any()


def test_dead_hot_and_stuck_columns_are_told_apart() -> None:
    counts, open_beam, dark = row()
    open_beam[[0, 50]] = [3.0, math.nan]
    dark[30] += 3e3
    counts[:, 30] += 3e3
    counts[:, 70] = counts[:, 71] = 8123.0
    counts[:30, 90] = math.nan
    assert indices(broken_columns(counts, open_beam, dark)) == {"dead": [0, 50, 90], "hot": [30], "stuck": [70, 71]}


def test_columns_without_noise_or_object_are_not_stuck() -> None:
    counts, open_beam, dark = row()
    counts[:, :60] = (open_beam + dark)[:60]
    assert not broken_columns(counts, open_beam, dark).stuck.any()


def test_few_views_say_nothing_of_stuck_columns() -> None:
    counts, open_beam, dark = row()
    counts[:, 70] = 8123.0
    assert not broken_columns(counts[:4], open_beam, dark).stuck.any()


def test_an_object_that_lets_nothing_through_is_no_dead_detector() -> None:
    counts, open_beam, dark = row()
    counts[:, 30:70] = np.floor(dark[30:70])
    assert not broken_columns(counts, open_beam, dark).any[35:65].any()
