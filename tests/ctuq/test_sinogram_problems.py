"""Every bad file gets a message with what was expected, what came and what to try."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctuq.errors import InputError
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scan
from ctuq.sinogram_file import write_sinogram_file
from operators import FanBeam, ImageGrid

GEOMETRY = "measurement/instrument/ctuq_geometry"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good scan of 12 views, one row, 10 detector pixels."""
    geometry = FanBeam(
        grid=ImageGrid(shape=(10, 10), pixel_mm=0.5),
        angles_rad=np.radians(np.arange(12) * 30.0),
        n_detectors=10,
        pitch_mm=1.0,
        source_origin_mm=50.0,
        origin_detector_mm=50.0,
    )
    write_sinogram_file(tmp_path / "scan.h5", Scan(np.ones((12, 10)), geometry))
    return tmp_path / "scan.h5"


def replaced(name: str, values: Any, **attributes: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        kept = dict(file[name].attrs) | attributes
        del file[name]
        file[name] = values
        file[name].attrs.update(kept)

    return change


def attribute(name: str, value: Any, of: str = GEOMETRY) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if value is None:
            del file[of].attrs[name]
        else:
            file[of].attrs[name] = value

    return change


def deleted(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]

    return change


def dangling(file: Any) -> None:
    del file["exchange/data"]
    file["exchange/data"] = h5py.ExternalLink("gone.h5", "/data")


def narrow_noise(file: Any) -> None:
    file["exchange/noise_variance"] = np.ones(10)


def a_group(file: Any) -> None:
    del file["exchange/theta"]
    file.create_group("exchange/theta")


DATA, THETA = "exchange/data", "exchange/theta"
WITH_NAN = np.where(np.arange(12) == 3, math.nan, np.arange(12) * 30.0)

BAD: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "no data": (deleted(DATA), ["expected a dataset exchange/data", "got none", "/exchange, /implements"]),
    "data elsewhere": (dangling, ["expected a dataset exchange/data", "a link to /data in gone.h5, which leads"]),
    "no theta": (deleted(THETA), ["expected a dataset exchange/theta with the view angles in degrees, got none"]),
    "theta is a group": (a_group, ["expected a dataset exchange/theta", "got a group"]),
    "no geometry": (deleted(GEOMETRY), ["expected a group measurement/instrument/ctuq_geometry", "got none", "add it"]),
    "two axes": (replaced(DATA, np.ones((12, 10))), ["three axes", "got shape (12, 10)", "data[:, None, :]"]),
    "four axes": (replaced(DATA, np.ones((1, 12, 1, 10))), ["three axes", "got shape (1, 12, 1, 10)"]),
    "other axes": (attribute("axes", "a:b:c", DATA), ["to order theta, y and x", "got 'a:b:c'", "correct"]),
    "text": (replaced(DATA, np.full((12, 1, 10), b"x")), ["expected numbers in exchange/data", "float32"]),
    "empty": (replaced(DATA, h5py.Empty("f")), ["the projections (theta, y, x), got an empty dataset"]),
    "zero detectors": (replaced(DATA, np.ones((12, 1, 0))), ["got zero detector pixels"]),
    "zero views": (replaced(DATA, np.ones((0, 1, 10))), ["got zero views"]),
    "too few angles": (replaced(THETA, np.arange(11) * 30.0), ["expected 12 angles", "got 11", "one angle a view"]),
    "closed circle": (replaced(THETA, np.arange(13) * 30.0), ["expected 12 angles", "got 13", "drop the last angle"]),
    "angles of axis 2": (replaced(THETA, np.arange(10) * 30.0), ["got 10", "axis 2", "move it to the front"]),
    "NaN angle": (replaced(THETA, WITH_NAN), ["expected finite angles", "got 1 NaN or infinite (the first at view 3)"]),
    "unknown unit": (attribute("units", "turns", THETA), ["in degrees or radians, got its attribute units = 'turns'"]),
    "counts": (attribute("units", "counts", DATA), ["frames of the open beam", "got no flats", "--flats", "-log("]),
    "no unit": (attribute("units", None, DATA), ["as the attribute units on exchange/data, got 'none'"]),
    "noise of another shape": (
        narrow_noise,
        ["data's shape (12, 1, 10), got shape (10,)", "learned from the data"],
    ),
    "unknown beam": (attribute("type", "helix"), ["expected type 'parallel', 'fan' or 'cone'", "got 'helix'"]),
    "no pitch": (attribute("pitch_mm", None), ["expected pitch_mm on", "got none"]),
    "negative pitch": (attribute("pitch_mm", -1.0), ["a finite number above 0 as pitch_mm", "-1"]),
    "no number": (attribute("pitch_mm", "wide"), ["a finite number above 0 as pitch_mm", "'wide'"]),
    "no source": (attribute("source_origin_mm", None), ["expected source_origin_mm on", "got none"]),
    "source on the axis": (attribute("source_origin_mm", 0.0), ["a finite number above 0 as source_origin_mm"]),
    "source inside": (
        lambda file: file[GEOMETRY].attrs.update({"source_origin_mm": 2.0, "origin_detector_mm": 0.5}),
        ["source must stay outside the image grid", "check the units"],
    ),
    "detector before the axis": (attribute("origin_detector_mm", -5.0), ["origin_detector_mm must be"]),
    "axis off the detector": (attribute("cor_index", 295.6), ["from 0 to 9, got 295.6", "not mm"]),
    "NaN axis": (attribute("cor_index", math.nan), ["expected a finite number as cor_index"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_what_to_try(path: Path, case: str) -> None:
    change, fragments = BAD[case]
    with h5py.File(path, "r+") as file:
        change(file)
    problems = inspect(path).problems
    assert len(problems) == 1
    for fragment in fragments:
        assert fragment in problems[0]
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert str(caught.value) == f"{path} cannot be read as a scan:\n- {problems[0]}"


def test_a_good_file_has_no_problems(path: Path) -> None:
    assert inspect(path).problems == ()
    assert inspect(path).geometry().sinogram_shape == (12, 10)


def test_every_problem_is_named_at_once(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for case in ("too few angles", "counts", "no pitch", "axis off the detector"):
            BAD[case][0](file)
    assert len(inspect(path).problems) == 4
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert str(caught.value).count("\n- ") == 4


@pytest.mark.parametrize(
    "theta_deg", [[0.0, 1.0, 2.0], [0.0, 2.0, 4.0, 7.0], [0.0, 60.0, 120.0, -90.0], [-0.1, 0.2, 90.0, 0.3]]
)
def test_small_angles_that_can_only_be_degrees_are_read(path: Path, theta_deg: list[float]) -> None:
    with h5py.File(path, "r+") as file:
        replaced(DATA, np.ones((len(theta_deg), 1, 10)))(file)
        replaced(THETA, theta_deg)(file)
    assert read_scan(path).geometry.angles_rad == pytest.approx(np.radians(theta_deg))


def test_parallel_beams_need_no_distances(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        attributes = file[GEOMETRY].attrs
        attributes["type"] = np.bytes_("parallel")
        del attributes["source_origin_mm"], attributes["origin_detector_mm"]
    assert inspect(path).geometry().field_of_view_mm == 10.0


def test_a_missing_file_a_folder_and_another_format(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(b"II*\x00 not HDF5")
    (tmp_path / "empty.h5").touch()
    for name, got in (
        ("none.h5", "got no such file: check the path"),
        ("", "got a folder: name a file inside it"),
        ("scan.tif", "got another format or an empty file: convert it"),
        ("empty.h5", "got another format or an empty file"),
    ):
        for attempt in (read_scan, inspect):
            with pytest.raises(InputError) as caught:
                attempt(tmp_path / name)
            assert got in str(caught.value)


def test_a_file_that_is_cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"cut short at {len(content) // 2} bytes: copy or write it again"):
        read_scan(path)


def test_damaged_headers(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"HEAP", b"HOLE"))
    for attempt in (read_scan, inspect):
        with pytest.raises(InputError, match=r"scan\.h5: expected"):
            attempt(path)


def test_a_chunk_that_does_not_decompress(path: Path) -> None:
    with h5py.File(path) as file:
        chunk = file[DATA].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(content)
    assert inspect(path).problems == ()  # headers alone cannot tell
    with pytest.raises(InputError, match=r"scan\.h5: expected an undamaged file"):
        read_scan(path)


def test_no_header_check_reads_projections(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = h5py.Dataset.__getitem__

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        read.append(self.name)
        return original(self, *arguments, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    assert inspect(path).problems == ()
    assert read == ["/exchange/theta"]
