from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ctuq.errors import InputError
from ctuq.preprocessing import PreprocessingSettings, preprocess
from ctuq.rings import RingMethod, remove_rings
from ctuq.scan import Scan
from operators import ImageGrid, ParallelBeam, RayTransform

GRID = ImageGrid(shape=(32, 32))
GEOMETRY = ParallelBeam(grid=GRID, angles_rad=np.radians(np.linspace(0, 180, 46)), n_detectors=44, cor_index=20.4)


def disc_image() -> torch.Tensor:
    x, y = GRID.x_mm()[None], GRID.y_mm()[:, None]
    return 0.05 * ((x - 4).hypot(y + 3) < 8).double() + 0.03 * ((x + 6).hypot(y - 5) < 5).double()


def disc_scan(*, cor_index: float | None = 20.4) -> Scan:
    rays = RayTransform(GEOMETRY)(disc_image())
    noise = 0.005 * torch.randn(rays.shape, generator=torch.Generator().manual_seed(0))
    geometry = ParallelBeam(
        grid=GRID, angles_rad=GEOMETRY.angles_rad, n_detectors=GEOMETRY.n_detectors, cor_index=cor_index
    )
    return Scan(rays + noise, geometry)


def test_by_default_nothing_is_done() -> None:
    scan = disc_scan()
    assert preprocess(scan, PreprocessingSettings()) is scan


def test_the_axis_is_as_given_or_found() -> None:
    for centre in (20.4, "find"):
        done = preprocess(disc_scan(cor_index=None), PreprocessingSettings(centre=centre))
        assert done.planar.axis_index == pytest.approx(20.4, abs=0.2)
        (step,) = done.steps
        assert step.numbers["cor_index"] == done.geometry.cor_index


def test_columns_and_clipped_rays_are_masked_and_interpolated() -> None:
    scan = disc_scan()
    spoiled = scan.sinogram.clone()
    spoiled[:, 22] = -3.0
    spoiled[7, 10] = 9.0
    settings = PreprocessingSettings(broken_columns=(22,), largest_line_integral=9.0)
    done = preprocess(Scan(spoiled, scan.geometry), settings)
    expected = torch.zeros_like(scan.masked)
    expected[:, 22] = expected[7, 10] = True
    assert done.masked.equal(expected)
    middle = (scan.sinogram[:, 21] + scan.sinogram[:, 23]) / 2
    torch.testing.assert_close(done.sinogram[:, 22], middle)
    assert [dict(step.numbers) for step in done.steps] == [
        {"columns": (22,)},
        {"rays": 1, "largest_line_integral": 9.0},
    ]


def test_rays_that_come_masked_are_interpolated_before_the_axis_is_looked_for() -> None:
    scan = disc_scan(cor_index=None)
    variance = torch.ones_like(scan.sinogram)
    variance[:, 30] = 1e12
    values = torch.where(variance > 1, 50.0, scan.sinogram)
    done = preprocess(Scan(values, scan.geometry, variance), PreprocessingSettings(centre="find"))
    assert done.planar.axis_index == pytest.approx(20.4, abs=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PreprocessingSettings(broken_columns=(2, 44)), "broken_columns from 0 to 43, got 44"),
        (PreprocessingSettings(centre=44.0), "centre on the detector, from 0 to 43, got 44"),
        (PreprocessingSettings(largest_line_integral=1e-9, broken_columns=tuple(range(44))), "every one is masked"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: PreprocessingSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(disc_scan(), settings)


def test_windows_too_wide_for_the_detector_are_refused() -> None:
    pytest.importorskip("algotom", reason="an optional library")
    with pytest.raises(InputError, match=r"at least 63 detector pixels .* got 44"):
        remove_rings(disc_scan(), "sorting")


@pytest.mark.parametrize("method", ["sorting", "filtering", "all"])
def test_stripes_are_removed_by_the_library(method: RingMethod) -> None:
    pytest.importorskip("algotom", reason="an optional library")
    geometry = replace(GEOMETRY, n_detectors=176, pitch_mm=0.25, cor_index=None)
    clean = RayTransform(geometry)(disc_image())
    stripe = torch.zeros(176)
    stripe[80] = 0.2
    done = remove_rings(Scan(clean + stripe, geometry), method)
    left = (done.sinogram - clean).mean(dim=0)
    assert abs(float(left[80] - (left[77] + left[83]) / 2)) < 0.1
    (step,) = done.steps
    assert float(step.numbers["largest_change"]) > 0.1  # type: ignore[arg-type]


def test_without_the_library_rings_are_refused_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("algotom"):
            raise ImportError("No module named 'algotom'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'ctuq\[rings\]'"):
        preprocess(disc_scan(), PreprocessingSettings(rings="sorting"))


def test_settings_that_make_no_sense_are_refused() -> None:
    for values in ({"centre": math.nan}, {"broken_columns": (-1,)}, {"largest_line_integral": 0.0}):
        with pytest.raises(ValueError, match=next(iter(values))):
            PreprocessingSettings(**values)
