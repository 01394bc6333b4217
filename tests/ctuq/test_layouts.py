"""One measurement reads the same from every layout, be it simulated or real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctuq.scan import Scan
from ctuq.scan_file import inspect, opened_scan, read_scan
from ctuq.scan_header import ScanHeader
from ctuq.scan_source import CountRows
from ctuq.sinogram_file import write_sinogram_file
from ctuq.source_choice import SourceChoice
from ctuq.transmission import line_integrals
from data_scripts.htc2022 import read_scan_mat
from data_scripts.lotus import read_scan_npz
from tests.ctuq.scan_layouts import (
    Measurement,
    measurement,
    write_data_exchange,
    write_nxtomo,
    write_tiff_stack,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
PARALLEL = {"type": "parallel", "pitch_mm": 0.5, "cor_index": 4.25}

WRITERS: dict[str, Callable[[Path, Measurement], Path]] = {
    "Data Exchange": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan),
    "compressed": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan, compression="gzip", shuffle=True),
    "chunks of many views": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan, chunks=(5, 1, 3)),
    "axes y:theta:x": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan, axes="y:theta:x"),
    "axes x:y:theta": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan, axes="x:y:theta"),
    "axes theta:x:y": lambda folder, scan: write_data_exchange(folder / "scan.h5", scan, axes="theta:x:y", chunks=True),
}
COUNT_WRITERS: dict[str, Callable[[Path, Measurement], Path]] = WRITERS | {
    "NXtomo": lambda folder, scan: write_nxtomo(folder / "scan.nxs", scan),
    "NXtomo in radians": lambda folder, scan: write_nxtomo(folder / "scan.nxs", scan, unit="rad"),
    "NXtomo in chunks": lambda folder, scan: write_nxtomo(folder / "scan.nxs", scan, chunks=(4, 1, 5)),
}
TIFF_WRITERS: dict[str, Callable[[Path, Measurement], Path]] = {
    "TIFF files": lambda folder, scan: write_tiff_stack(folder / "scan.toml", scan),
    "one TIFF file": lambda folder, scan: write_tiff_stack(folder / "scan.toml", scan, one_file=True),
}


def expected(scan: Measurement, row: int) -> torch.Tensor:
    assert scan.flats is not None
    assert scan.darks is not None
    found = line_integrals(scan.data[:, row], scan.flats[:, row], scan.darks[:, row])
    return torch.as_tensor(found.line_integrals).float()


def assert_same(path: Path, scan: Measurement, row: int, wanted: torch.Tensor) -> None:
    back = read_scan(path, row=row)
    torch.testing.assert_close(back.sinogram, wanted, rtol=1e-6, atol=1e-6)
    assert back.geometry.angles_rad == pytest.approx(np.radians(scan.theta_deg), abs=1e-9)
    assert isinstance(back.noise_variance, torch.Tensor) == (scan.flats is not None)


def with_units(folder: Path, layout: str, units: str) -> ScanHeader:
    """The header of counts with flats and darks whose file calls them otherwise."""
    if layout == "TIFF":
        path = write_tiff_stack(folder / "scan.toml", measurement())
        path.write_text(path.read_text().replace('units = "counts"', f'units = "{units}"'))
        return inspect(path)
    path = write_data_exchange(folder / "scan.h5", measurement())
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["units"] = units
        if layout == "named":
            file.move("exchange", "other")
    names = {name: f"other/{end}" for name, end in zip(("data", "angles", "flats", "darks"), ENDS, strict=True)}
    return inspect(path, SourceChoice(**names) if layout == "named" else SourceChoice())


ENDS = ("data", "theta", "data_white", "data_dark")


@pytest.mark.parametrize("layout", ["TIFF", "Data Exchange", "named"])
def test_every_layout_takes_flats_for_counts_and_none_for_line_integrals(tmp_path: Path, layout: str) -> None:
    header = with_units(tmp_path, layout, "line_integral")
    assert (header.units, header.n_flats, header.n_darks) == ("line_integral", 0, 0)
    assert "flats and darks are left out: the data are line integrals already" in header.notes
    header = with_units(tmp_path, layout, "photons")
    assert (header.units, header.n_flats, header.n_darks) == ("counts", 4, 3)
    assert header.units_why == "they say units 'photons', and there are frames of the open beam"


@pytest.mark.parametrize("writer", COUNT_WRITERS | TIFF_WRITERS)
@pytest.mark.parametrize("row", [0, 2])
def test_counts_read_the_same_from_every_layout(tmp_path: Path, writer: str, row: int) -> None:
    scan = measurement()
    path = (COUNT_WRITERS | TIFF_WRITERS)[writer](tmp_path, scan)
    assert_same(path, scan, row, expected(scan, row))
    header = inspect(path)
    assert (header.shape, header.n_flats, header.n_darks, header.units) == ((12, 3, 10), 4, 3, "counts")
    assert header.problems == ()


@pytest.mark.parametrize("writer", WRITERS | TIFF_WRITERS)
def test_line_integrals_with_a_geometry_read_the_same(tmp_path: Path, writer: str) -> None:
    rng = np.random.default_rng(1)
    scan = Measurement(rng.random((12, 3, 10), dtype=np.float32), np.arange(12) * 30.0, geometry=PARALLEL)
    path = (WRITERS | TIFF_WRITERS)[writer](tmp_path, scan)
    assert_same(path, scan, 1, torch.from_numpy(scan.data[:, 1].copy()))
    assert read_scan(path).geometry.cor_index == 4.25
    assert read_scan(path).geometry.pitch_mm == 0.5
    assert not any(step.name == "reading" for step in read_scan(path).steps)


@pytest.mark.parametrize("writer", ["Data Exchange", "axes y:theta:x", "TIFF files", "one TIFF file"])
def test_counts_with_a_geometry_keep_it(tmp_path: Path, writer: str) -> None:
    plain = measurement()
    scan = Measurement(plain.data, plain.theta_deg, plain.flats, plain.darks, PARALLEL)
    path = (COUNT_WRITERS | TIFF_WRITERS)[writer](tmp_path, scan)
    assert_same(path, scan, 1, expected(scan, 1))
    assert read_scan(path).geometry.cor_index == 4.25


def test_a_block_of_rows_is_those_rows(tmp_path: Path) -> None:

    scan = measurement(rows=7)
    for writer, write in (COUNT_WRITERS | TIFF_WRITERS).items():
        folder = tmp_path / writer.replace(":", "")
        folder.mkdir()
        with opened_scan(write(folder, scan)) as source:
            block = source.rows(2, 5)
        assert isinstance(block, CountRows)
        np.testing.assert_array_equal(block.counts, scan.data[:, 2:5])
        np.testing.assert_array_equal(block.flats, scan.flats[:, 2:5])  # type: ignore[index]
        np.testing.assert_array_equal(block.darks, scan.darks[:, 2:5])  # type: ignore[index]


def tooth() -> Measurement:
    path = SHARED / "tooth" / "tooth.h5"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with h5py.File(path) as file:
        parts = {name: file[f"exchange/{name}"][()] for name in ("data", "theta", "data_white", "data_dark")}
    return Measurement(parts["data"], parts["theta"], parts["data_white"], parts["data_dark"])


@pytest.mark.parametrize("writer", [None, *COUNT_WRITERS, *TIFF_WRITERS])
def test_the_tooth_reads_the_same_from_every_layout(tmp_path: Path, writer: str | None) -> None:
    scan = tooth()
    path = SHARED / "tooth" / "tooth.h5" if writer is None else (COUNT_WRITERS | TIFF_WRITERS)[writer](tmp_path, scan)
    for row in (0, 1):
        assert_same(path, scan, row, expected(scan, row))
    assert inspect(path).shape == (181, 2, 640)


def test_the_tooth_with_its_true_angles(tmp_path: Path) -> None:
    scan = tooth()
    path = write_data_exchange(tmp_path / "scan.h5", scan, theta=False)
    back = read_scan(path)
    assert back.geometry.angles_rad == pytest.approx(np.radians(np.arange(181.0)))
    assert "0 to 180 degrees, end point included" in " ".join(map(str, back.steps))
    np.savetxt(tmp_path / "true.txt", np.arange(181.0))
    chosen = read_scan(SHARED / "tooth" / "tooth.h5", choice=SourceChoice(angles=str(tmp_path / "true.txt")))
    assert chosen.geometry.angles_rad == pytest.approx(np.radians(np.arange(181.0)))


def test_the_tooth_with_one_flat_and_one_dark_value(tmp_path: Path) -> None:
    scan = tooth()
    assert scan.flats is not None
    flat, dark = np.full((1, 2, 640), 30_000.0), np.full((1, 2, 640), 100.0)
    path = write_data_exchange(tmp_path / "scan.h5", Measurement(scan.data, scan.theta_deg))
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["units"] = "counts"
        file["exchange/data_white"], file["exchange/data_dark"] = 30_000.0, np.array([100.0])
    constant = Measurement(scan.data, scan.theta_deg, flat, dark)
    for row in (0, 1):
        exact = line_integrals(scan.data[:, row], 30_000.0, 100.0).line_integrals  # numbers have no noise, frames have
        assert_same(path, constant, row, torch.as_tensor(exact).float())


REAL: dict[str, tuple[Path, Callable[[Path], Scan]]] = {
    "lotus": (SHARED / "fips_lotus" / "lotus_fan.npz", read_scan_npz),
    "HTC ta": (SHARED / "htc2022" / "htc2022_ta_full.mat", read_scan_mat),
    "HTC tb": (SHARED / "htc2022" / "htc2022_tb_full.mat", read_scan_mat),
}


@pytest.mark.parametrize("name", REAL)
def test_real_fan_scans_read_the_same_from_every_layout(tmp_path: Path, name: str) -> None:
    path, read = REAL[name]
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    scan = read(path)
    write_sinogram_file(tmp_path / "own.h5", scan)
    with h5py.File(tmp_path / "own.h5") as file:
        geometry = dict(file["measurement/instrument/ctuq_geometry"].attrs)
        theta = file["exchange/theta"][()]
    rewritten = Measurement(scan.sinogram.numpy()[:, None], theta, geometry=geometry)
    # 60,000 counts through the object, as a detector would give them but for rounding
    flats = np.full((2, 1, scan.geometry.n_detectors), 60_000.0)
    counts = 60_000.0 * np.exp(-rewritten.data.astype(np.float64))
    as_counts = Measurement(counts, theta, flats, np.zeros((1, 1, scan.geometry.n_detectors)), geometry)
    # The half count that takes the bias out of the logarithm
    from_counts = torch.as_tensor(-np.log((counts[:, 0] + 0.5) / 60_000.0)).float()
    for number, (kind, write) in enumerate((WRITERS | TIFF_WRITERS).items()):
        for what, wanted in ((rewritten, scan.sinogram), (as_counts, from_counts)):
            folder = tmp_path / f"{number}{what.units}"
            folder.mkdir()
            back = read_scan(write(folder, what))
            torch.testing.assert_close(back.sinogram, wanted, rtol=1e-6, atol=1e-6, msg=f"{kind} {what.units}")
            assert back.geometry.angles_rad == pytest.approx(scan.geometry.angles_rad, abs=1e-9)
            assert back.geometry.cor_index == scan.geometry.cor_index


def test_k11_reads_as_its_parts_say() -> None:
    path = SHARED / "k11_nxtomo" / "k11-18014.nxs"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with h5py.File(path) as file:
        keys = file["entry/instrument/imaging/image_key"][()]
        frames = file["entry/imaging/data"][:, 7].astype(np.float64)
        angles = file["entry/imaging/gts_theta_value"][()][keys == 0]
    wanted = line_integrals(frames[keys == 0], frames[keys == 1], frames[keys == 2]).line_integrals
    for choice in (SourceChoice(), SourceChoice(data="entry/imaging/data", angles="/entry/imaging/gts_theta_value")):
        back = read_scan(path, row=7, choice=choice)
        torch.testing.assert_close(back.sinogram, torch.as_tensor(wanted).float(), rtol=1e-6, atol=1e-6)
        assert np.degrees(back.geometry.angles_rad) == pytest.approx(angles)
    header = inspect(path)
    assert (header.shape, header.n_flats, header.n_darks) == ((3001, 22, 26), 100, 100)
    assert header.problems == ()
    assert "entry/instrument/EtherCAT is left out" in header.notes[0]
