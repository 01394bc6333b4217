import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctuq.errors import InputError
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scan
from ctuq.sinogram_file import write_sinogram_file
from operators import FanBeam, ImageGrid, ParallelBeam


def fan_scan(n_angles: int = 12, n_detectors: int = 10, name: str = "a scan", *, noisy: bool = False) -> Scan:
    rng = np.random.default_rng(0)
    geometry = FanBeam(
        grid=ImageGrid(shape=(n_detectors, n_detectors), pixel_mm=0.5),
        angles_rad=np.radians(np.arange(n_angles) * 30.0),
        n_detectors=n_detectors,
        pitch_mm=1.0,
        source_origin_mm=50.0,
        origin_detector_mm=50.0,
        cor_index=4.25,
    )
    variance = rng.random((n_angles, n_detectors)) + 0.1 if noisy else 0.25
    return Scan(rng.random((n_angles, n_detectors)), geometry, variance, name)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_fan_scan_comes_back_as_it_went(tmp_path: Path, *, noisy: bool) -> None:
    scan = fan_scan(noisy=noisy)
    write_sinogram_file(tmp_path / "scan.h5", scan, source="here", licence="CC0")
    back = read_scan(tmp_path / "scan.h5")
    torch.testing.assert_close(back.sinogram, scan.sinogram, rtol=0, atol=0)
    assert back.geometry == scan.geometry
    assert back.name == "a scan"
    assert back.sha256 == scan.sha256
    header = inspect(tmp_path / "scan.h5")
    assert (header.source, header.licence, header.shape, header.problems) == ("here", "CC0", (12, 1, 10), ())
    assert header.has_noise_variance
    assert header.theta_deg == tuple(30.0 * i for i in range(12))


def test_rays_that_the_file_states_as_hopeless_are_told(tmp_path: Path) -> None:
    assert fan_scan(noisy=True).steps == ()
    write_sinogram_file(tmp_path / "scan.h5", fan_scan(noisy=True).with_masked(hidden := torch.eye(12, 10) > 0))
    back = read_scan(tmp_path / "scan.h5")
    assert back.masked.equal(hidden)
    (step,) = (step for step in back.steps if step.name == "stated noise")
    assert step.text.startswith("masked 10 of 120 rays, whose stated variance is above 1e+06 times")
    assert step.numbers == {"rays": 10}


@settings(deadline=None, max_examples=40)
@given(
    n_angles=st.integers(1, 12),
    n_detectors=st.integers(1, 9),
    pitch_mm=st.floats(1e-3, 1e3),
    first=st.floats(10.0, 360.0),
    fan=st.booleans(),
    where=st.none() | st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_every_scan_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    n_angles: int,
    n_detectors: int,
    pitch_mm: float,
    first: float,
    fan: bool,
    where: float | None,
    seed: int,
) -> None:
    cor_index = None if where is None else where * (n_detectors - 1)
    angles_rad = np.radians(first + 7.0 * np.arange(n_angles))
    grid = ImageGrid(shape=(n_detectors, n_detectors), pixel_mm=pitch_mm)
    parallel = ParallelBeam(
        grid=grid, angles_rad=angles_rad, n_detectors=n_detectors, pitch_mm=pitch_mm, cor_index=cor_index
    )
    geometry = parallel if not fan else FanBeam(
        grid=grid, angles_rad=angles_rad, n_detectors=n_detectors, pitch_mm=pitch_mm, cor_index=cor_index,
        source_origin_mm=40 * pitch_mm, origin_detector_mm=0.0,
    )  # fmt: skip
    scan = Scan(np.random.default_rng(seed).normal(size=(n_angles, n_detectors)), geometry, name="ü/ scan")
    path = tmp_path_factory.mktemp("scans") / "scan.h5"
    write_sinogram_file(path, scan)
    back = read_scan(path)
    assert torch.equal(back.sinogram, scan.sinogram)
    assert type(back.geometry) is type(geometry)
    assert back.geometry.angles_rad == pytest.approx(geometry.angles_rad, abs=1e-12)
    assert back.geometry.cor_index == cor_index
    assert back.geometry.pitch_mm == pitch_mm
    assert back.name == scan.name


def test_the_grid_covers_the_field_of_view_unless_told_otherwise(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "scan.h5", fan_scan())
    field_of_view = 10 * 1.0 / 2
    assert read_scan(tmp_path / "scan.h5").geometry.grid == ImageGrid(shape=(10, 10), pixel_mm=field_of_view / 10)
    assert read_scan(tmp_path / "scan.h5", size=4).geometry.grid == ImageGrid(shape=(4, 4), pixel_mm=field_of_view / 4)
    chosen = read_scan(tmp_path / "scan.h5", size=4, pixel_mm=0.1).geometry.grid
    assert chosen == ImageGrid(shape=(4, 4), pixel_mm=0.1)


@pytest.mark.parametrize("size", [0, -3])
def test_a_grid_without_pixels_is_refused(tmp_path: Path, size: int) -> None:
    write_sinogram_file(tmp_path / "scan.h5", fan_scan())
    with pytest.raises(InputError, match=r"scan\.h5.*at least one pixel"):
        read_scan(tmp_path / "scan.h5", size=size)


def test_a_grid_that_reaches_the_source_is_refused(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "scan.h5", fan_scan())
    with pytest.raises(InputError, match="source must stay outside the image grid"):
        read_scan(tmp_path / "scan.h5", pixel_mm=20.0)


def rows_file(path: Path, n_rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    write_sinogram_file(path, fan_scan(noisy=True), force=True)
    data = np.random.default_rng(1).random((12, n_rows, 10)).astype(np.float32)
    with h5py.File(path, "r+") as file:
        del file["exchange/data"], file["exchange/noise_variance"]
        file["exchange/data"] = data
        file["exchange/data"].attrs["units"] = "line_integral"
        file["exchange/noise_variance"] = data + 1
    return data


def test_one_row_is_read_with_its_noise_and_the_middle_one_by_default(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    data = rows_file(path, 5)
    for row, index in ((0, 0), (4, 4), (None, 2)):
        scan = read_scan(path, row=row)
        np.testing.assert_array_equal(scan.sinogram.numpy(), data[:, index])
        assert isinstance(scan.noise_variance, torch.Tensor)
        np.testing.assert_array_equal(scan.noise_variance.numpy(), data[:, index] + 1)
        assert scan.name == f"a scan row {index}"


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_out_of_range_is_named_with_the_range(tmp_path: Path, row: int) -> None:
    rows_file(tmp_path / "scan.h5", 5)
    with pytest.raises(InputError, match=f"expected a row from 0 to 4, got {row}"):
        read_scan(tmp_path / "scan.h5", row=row)


def test_only_the_asked_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    rows_file(path, 3)
    with h5py.File(path, "r+") as file:
        file["exchange/data"][:, 0] = math.nan
        file["exchange/data"][3, 2, 7] = math.inf
    assert read_scan(path, row=1).sinogram.isfinite().all()
    with pytest.raises(InputError, match=r"scan\.h5: expected finite line integrals, got 120 NaN of 120"):
        read_scan(path, row=0)
    with pytest.raises(InputError, match=r"got 1 infinite of 120 values \(the first at view 3, detector pixel 7"):
        read_scan(path, row=2)


def test_the_title_is_optional(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "tooth_3.h5", fan_scan(name=""))
    assert read_scan(tmp_path / "tooth_3.h5").name == "tooth_3"


def test_the_layout_is_data_exchange(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "scan.h5", fan_scan())
    with h5py.File(tmp_path / "scan.h5") as file:
        data, theta = file["exchange/data"], file["exchange/theta"]
        assert (data.shape, data.dtype, data.attrs["units"], data.attrs["axes"]) == (
            (12, 1, 10), np.float32, "line_integral", "theta:y:x",
        )  # fmt: skip
        assert (theta[-1], theta.attrs["units"]) == (330.0, "deg")
        assert dict(file["measurement/instrument/ctuq_geometry"].attrs) == {
            "type": "fan", "pitch_mm": 1.0, "source_origin_mm": 50.0, "origin_detector_mm": 50.0, "cor_index": 4.25,
        }  # fmt: skip


def test_the_same_scan_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_sinogram_file(tmp_path / name, fan_scan())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_an_existing_file_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists"):
        write_sinogram_file(path, fan_scan())
    assert path.read_text() == "precious"
    write_sinogram_file(path, fan_scan(), force=True)
    assert read_scan(path).name == "a scan"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        write_sinogram_file(tmp_path / "missing" / "scan.h5", fan_scan())


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5"
    write_sinogram_file(path, fan_scan(name="old"))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctuq.sinogram_file.write_rays", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_sinogram_file(path, fan_scan(name="new"), force=True)
    assert read_scan(path).name == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]
