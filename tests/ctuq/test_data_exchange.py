"""Data Exchange files as they come: axes, angles, references and groups that are not the usual ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ctuq.errors import InputError
from ctuq.scan_file import inspect, opened_scan, read_scan
from ctuq.scan_source import CountRows
from ctuq.source_choice import SourceChoice
from tests.ctuq.scan_layouts import Measurement, measurement, write_data_exchange


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_data_exchange(tmp_path / "scan.h5", measurement())


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize(
    ("said", "degrees"),
    [
        ({"rotation_start": 10.0, "rotation_step": 2.0}, 10.0 + 2.0 * np.arange(12)),
        ({"start": [5.0], "step": [0.5]}, 5.0 + 0.5 * np.arange(12)),
        ({"range": 360.0}, np.linspace(0, 360, 12)),
        ({"rotation_start": -90.0, "rotation_stop": 90.0}, np.linspace(-90, 90, 12)),
        ({"num_angles": 12}, np.linspace(0, 180, 12)),
        ({}, np.linspace(0, 180, 12)),
    ],
)
def test_missing_angles_follow_from_the_rotation_and_are_said(
    path: Path, said: dict[str, Any], degrees: np.ndarray[Any, Any]
) -> None:
    def change(file: Any) -> None:
        del file["exchange/theta"]
        for name, value in said.items():
            file[f"process/acquisition/rotation/{name}"] = value

    header = inspect(changed(path, change))
    assert header.theta_deg == pytest.approx(tuple(degrees))
    assert header.notes[0].startswith("no exchange/theta in the file: angles are taken from")
    assert header.problems == ()


def test_angles_that_dangle_are_not_made_up(path: Path) -> None:
    def change(file: Any) -> None:
        del file["exchange/theta"]
        file["exchange/theta"] = h5py.ExternalLink("gone.h5", "theta")

    assert "a link to theta in gone.h5" in inspect(changed(path, change)).problems[0]


@pytest.mark.parametrize(("unit", "factor"), [("rad", 1.0), ("", 1.0), ("degrees", 180 / np.pi)])
def test_angles_in_radians_are_told_by_their_unit_or_by_a_half_turn(path: Path, unit: str, factor: float) -> None:
    def change(file: Any) -> None:
        file["exchange/theta"][...] = np.radians(measurement().theta_deg) * factor
        file["exchange/theta"].attrs["units"] = unit

    header = inspect(changed(path, change))
    assert header.theta_deg == pytest.approx(measurement().theta_deg)
    assert any("taken as radians, as the views span" in note for note in header.notes) == (not unit)


def test_small_angles_without_a_unit_are_not_guessed(path: Path) -> None:
    def change(file: Any) -> None:
        file["exchange/theta"][...] = np.arange(12) * 0.3
        del file["exchange/theta"].attrs["units"]

    assert "look like radians: none exceeds 3.3" in inspect(changed(path, change)).problems[0]


@pytest.mark.parametrize("last", [5.0, np.pi])
def test_a_narrow_arc_in_degrees_is_believed_and_said(path: Path, last: float) -> None:
    degrees = np.linspace(0, last, 12)
    header = inspect(changed(path, lambda file: file["exchange/theta"].__setitem__(..., degrees)))
    assert header.problems == ()
    assert header.theta_deg == pytest.approx(degrees)
    assert any("taken as degrees, as is said" in note for note in header.notes)


@pytest.mark.parametrize("shape", ["stack", "frame", "value", "array of one"])
def test_flats_as_a_stack_a_frame_or_a_value(path: Path, shape: str) -> None:
    values = {
        "stack": np.full((5, 3, 10), 2000.0),
        "frame": np.full((3, 10), 2000.0),
        "value": 2000.0,
        "array of one": np.array([2000.0]),
    }

    def change(file: Any) -> None:
        del file["exchange/data_white"]
        file["exchange/data_white"] = values[shape]

    constant = Measurement(
        measurement().data, measurement().theta_deg, np.full((5, 3, 10), 2000.0), measurement().darks
    )
    wanted = read_scan(write_data_exchange(path.with_name("wanted.h5"), constant), row=1).sinogram
    torch.testing.assert_close(read_scan(changed(path, change), row=1).sinogram, wanted, rtol=1e-6, atol=1e-6)


def test_references_without_axes_follow_the_projections_where_their_shape_says_so(tmp_path: Path) -> None:
    wanted = read_scan(write_data_exchange(tmp_path / "plain.h5", measurement()), row=1).sinogram
    path = write_data_exchange(tmp_path / "scan.h5", measurement(), axes="y:theta:x")

    def change(file: Any) -> None:
        for name in ("data_white", "data_dark"):
            del file[f"exchange/{name}"].attrs["axes"]

    # four flats are no three rows, but three darks are: those could be read either way
    (problem,) = inspect(changed(path, change)).problems
    assert "expected one way to read frames without beam in exchange/data_dark, got shape (3, 3, 10)" in problem
    changed(path, lambda file: file["exchange/data_dark"].attrs.update({"axes": "y:theta_dark:x"}))
    assert torch.equal(read_scan(path, row=1).sinogram, wanted)


def test_a_single_frame_of_permuted_axes(tmp_path: Path) -> None:
    one = Measurement(
        measurement().data, measurement().theta_deg, np.arange(30.0).reshape(1, 3, 10) + 2000, measurement().darks
    )
    wanted = read_scan(write_data_exchange(tmp_path / "plain.h5", one), row=1).sinogram
    path = write_data_exchange(tmp_path / "scan.h5", one, axes="x:theta:y")

    def change(file: Any) -> None:
        del file["exchange/data_white"]
        file["exchange/data_white"] = np.arange(30.0).reshape(3, 10).T + 2000

    assert torch.equal(read_scan(changed(path, change), row=1).sinogram, wanted)


def test_one_value_stays_one_value(path: Path) -> None:
    def change(file: Any) -> None:
        del file["exchange/data_white"], file["exchange/data_dark"]
        file["exchange/data_white"] = 2000.0

    with opened_scan(changed(path, change)) as source:
        rows = source.rows(0, 2)
    assert isinstance(rows, CountRows)
    assert (rows.flats.tolist(), rows.darks.tolist()) == ([[[2000.0], [2000.0]]], [[[0.0], [0.0]]])


def test_further_exchange_groups_are_entries(path: Path) -> None:
    write_data_exchange(path, measurement(seed=1), group="exchange_2", mode="r+")
    header = inspect(path)
    assert header.entries == ("exchange", "exchange_2")
    assert "the file holds exchange, exchange_2: exchange is read; --entry chooses another" in header.notes
    other = SourceChoice(entry="exchange_2")
    assert not torch.equal(read_scan(path, choice=other).sinogram, read_scan(path).sinogram)
    with pytest.raises(InputError, match="expected --entry to be one of exchange, exchange_2, got exchange_3"):
        read_scan(path, choice=SourceChoice(entry="exchange_3"))


def test_of_numbered_groups_alone_one_must_be_chosen(tmp_path: Path) -> None:
    path = write_data_exchange(tmp_path / "scan.h5", measurement(), group="exchange_1")
    assert inspect(path).problems == ()
    write_data_exchange(path, measurement(seed=1), group="exchange_2", mode="r+")
    assert "choose one with --entry exchange_1" in inspect(path).problems[0]


def test_units_that_are_not_said_are_counts_where_there_are_flats(path: Path) -> None:
    changed(path, lambda file: file["exchange/data"].attrs.__delitem__("units"))
    header = inspect(path)
    assert header.units == "counts"
    assert header.units_why == "they say units 'none', and there are frames of the open beam"
    changed(path, lambda file: file.__delitem__("exchange/data_white"))
    assert "'line_integral' or 'counts' as the attribute units" in inspect(path).problems[0]


def test_darks_may_be_missing(path: Path) -> None:
    changed(path, lambda file: file.__delitem__("exchange/data_dark"))
    assert "no darks in the file: taken as zero" in inspect(path).notes
    assert read_scan(path).sinogram.isfinite().all()


@pytest.mark.parametrize("place", ["detection_system/objective/resolution", "detector/pixel_size"])
def test_the_pixel_size_at_the_object_comes_first(path: Path, place: str) -> None:
    def change(file: Any) -> None:
        for name, size in (("detector/pixel_size", 5.0), (place, 0.65)):
            if name in file["measurement/instrument"]:
                del file[f"measurement/instrument/{name}"]
            file[f"measurement/instrument/{name}"] = size
            file[f"measurement/instrument/{name}"].attrs["units"] = "microns"

    changed(path, lambda file: file.create_group("measurement/instrument"))
    assert inspect(changed(path, change)).beam.pitch_mm == pytest.approx(0.00065)


def one_value(name: str, value: float) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        values = file[name][()].astype(np.float32)
        attributes = dict(file[name].attrs)
        values[1, 1, 2] = value
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_single_counts_that_are_none_are_masked(path: Path, value: float) -> None:
    for name, n_masked in (("data_white", 0), ("data_dark", 0), ("data", 1)):
        scan = read_scan(changed(path, one_value(f"exchange/{name}", value)), row=1)
        assert scan.sinogram.isfinite().all()
        assert int(scan.masked.sum()) == n_masked
    assert any(step.name == "nan counts" and "masked 1 of 120" in step.text for step in scan.steps)


def test_many_counts_that_are_none_are_refused(path: Path) -> None:
    def spoil(file: Any) -> None:
        values = file["exchange/data"][()].astype(np.float64)
        values[:, 1, :2] = np.nan
        attributes = dict(file["exchange/data"].attrs)
        del file["exchange/data"]
        file["exchange/data"] = values
        file["exchange/data"].attrs.update(attributes)

    with pytest.raises(InputError, match=r"scan\.h5: expected finite counts in the views, got 24 of 120 NaN"):
        read_scan(changed(path, spoil), row=1)
    assert read_scan(path, row=0).sinogram.isfinite().all()


def test_zero_and_negative_counts_are_different_steps(path: Path) -> None:
    for value, kind in ((0.0, "zero"), (-3.0, "negative")):
        changed(path, one_value("exchange/data", value))
        steps = read_scan(path, row=1).steps
        assert any(step.name == f"{kind} counts" and "masked 1 of 120" in step.text for step in steps)


def test_views_of_nothing_but_zeros_were_never_measured(path: Path) -> None:
    changed(path, lambda file: file["exchange/data"].__setitem__((slice(9, None), 1), 0))
    with pytest.raises(InputError, match=r"expected counts in all views, got 3 of 12 with nothing but zeros"):
        read_scan(path, row=1)


def test_named_datasets_of_a_file_of_no_layout(path: Path) -> None:
    wanted = read_scan(path, row=1).sinogram
    with h5py.File(path) as source, h5py.File(path.with_name("other.h5"), "w") as file:
        source.copy("exchange", file, name="scan")
    other = path.with_name("other.h5")
    assert "name the datasets with --data, --angles, --flats and --darks" in inspect(other).problems[0]
    choice = SourceChoice(data="scan/data", angles="scan/theta", flats="scan/data_white", darks="scan/data_dark")
    assert inspect(other, choice).layout == "HDF5"
    assert torch.equal(read_scan(other, row=1, choice=choice).sinogram, wanted)
    assert len(inspect(other, SourceChoice(data="scan/data", flats="scan/nothing")).problems) == 3


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".npy"])
def test_angles_of_a_file_win(path: Path, suffix: str) -> None:
    angles = path.with_name(f"angles{suffix}")
    degrees = np.arange(12) * 3.0
    if suffix == ".npy":
        np.save(angles, degrees)
    else:
        angles.write_text(("," if suffix == ".csv" else "\n").join(map(str, degrees)))
    assert inspect(path, SourceChoice(angles=str(angles))).theta_deg == pytest.approx(degrees)
    angles.write_bytes(b"no numbers")
    assert "expected angles in degrees" in inspect(path, SourceChoice(angles=str(angles))).problems[0]
