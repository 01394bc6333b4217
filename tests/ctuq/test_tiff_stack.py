"""TIFF files with a TOML file that says what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ctuq.errors import InputError
from ctuq.scan_file import inspect, read_scan
from ctuq.source_choice import SourceChoice
from tests.ctuq.scan_layouts import measurement, write_tiff_stack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiff_stack(tmp_path / "scan.toml", measurement())


def swapped(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_told(path: Path) -> None:
    swapped(path, "units", 'title = "a tooth"\nlicence = "CC0-1.0"\nunits')
    header = inspect(path)
    assert (header.layout, header.name, header.licence, header.entries) == ("TIFF stack", "a tooth", "CC0-1.0", ())
    assert (header.rows_together, header.angles_from) == (3, "angles_deg of scan.toml")
    assert len(header.notes) == 1  # no geometry


@pytest.mark.parametrize(
    ("said", "degrees"),
    [
        ("{start = 0, stop = 180}", np.linspace(0, 180, 12)),
        ("{start = 10, stop = 190, endpoint = false}", np.linspace(10, 190, 12, endpoint=False)),
        ('"angles.txt"', np.arange(12) * 7.0),
    ],
)
def test_angles_in_other_words(path: Path, said: str, degrees: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    np.savetxt(path.with_name("angles.txt"), np.arange(12) * 7.0)
    swapped(path, f"angles_deg = {measurement().theta_deg.tolist()}", f"angles_deg = {said}")
    assert inspect(path).theta_deg == pytest.approx(tuple(degrees))


def of_toml(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: swapped(path, old, new)


def frame(shape: tuple[int, ...], kind: str) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path.with_name("data_3.tif"), np.ones(shape, kind))


def cut_short(path: Path) -> None:
    whole = path.with_name("data_3.tif").read_bytes()
    path.with_name("data_3.tif").write_bytes(whole[:-20])


def no_tiff(path: Path) -> None:
    path.with_name("data_3.tif").write_bytes(b"not a TIFF file")


BAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a frame missing": (lambda path: path.with_name("data_3.tif").unlink(), ["expected 11 angles", "got 12"]),
    "another shape": (frame((3, 9), "u2"), ["of one shape and type in data_*.tif", "(3, 9) uint16 in data_3.tif"]),
    "another type": (frame((3, 10), "f4"), ["of one shape and type", "(3, 10) float32 in data_3.tif"]),
    "cut short": (cut_short, ["expected an undamaged TIFF file, got data_3.tif"]),
    "no TIFF": (no_tiff, ["expected an undamaged TIFF file, got data_3.tif"]),
    "no files": (of_toml("data_*", "frames_*"), ["expected the projections as", "no such file"]),
    "other folder": (of_toml("data_*", "../data_*"), ["expected the projections below", "got ../data_*.tif"]),
    "no data": (of_toml("data =", "# data ="), ["expected the key data in scan.toml", "got none"]),
    "no angles": (of_toml("angles_deg =", "# angles_deg ="), ["expected angles_deg of scan.toml", "got None"]),
    "no numbers": (of_toml("angles_deg = [0.0", 'angles_deg = ["zero"'), ["expected angles_deg of scan.toml"]),
    "unknown key": (of_toml("darks =", "dark ="), ["expected the keys", "got dark"]),
    "unknown units": (
        lambda path: path.write_text(path.read_text().replace('"counts"', '"photons"').replace("flats =", "# flats =")),
        ["'line_integral' or 'counts' as the key units of the TOML file", "got 'photons'"],
    ),
    "flats missing": (of_toml("flats =", "# flats ="), ["frames of the open beam", "got no flats"]),
    "flats of another detector": (of_toml("flats_*", "wide"), ["flats of the projections' detector", "(3, 12)"]),
    "half a geometry": (
        lambda path: path.write_text(path.read_text() + '\n[geometry]\ntype = "fan"\npitch_mm = 0.1'),
        ["expected source_origin_mm on [geometry] of scan.toml"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_stack_is_refused_with_what_to_try(path: Path, case: str) -> None:
    change, fragments = BAD[case]
    tifffile.imwrite(path.with_name("wide.tif"), np.ones((3, 12), "u2"))
    change(path)
    problems = inspect(path).problems
    assert problems
    for fragment in fragments:
        assert fragment in problems[0]
    with pytest.raises(InputError, match="cannot be read as a scan"):
        read_scan(path)


def test_what_is_no_toml_is_named(path: Path) -> None:
    path.write_text("data = [")
    with pytest.raises(InputError, match=r"scan\.toml: expected a TOML file"):
        read_scan(path)


def test_an_entry_makes_no_sense(path: Path) -> None:
    assert "expected no --entry" in inspect(path, SourceChoice(entry="one")).problems[0]


def test_a_compressed_frame_that_does_not_unpack(tmp_path: Path) -> None:
    path = write_tiff_stack(tmp_path / "scan.toml", measurement(), one_file=True)
    frames = bytearray((tmp_path / "data.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "data.tif") as file:
        page = file.pages[4]
        begin, length = page.dataoffsets[0], page.databytecounts[0]
    frames[begin : begin + length] = b"\xff" * length
    (tmp_path / "data.tif").write_bytes(frames)
    with pytest.raises(InputError, match=r"scan\.toml: expected an undamaged file"):
        read_scan(path)


def test_what_the_command_line_names_is_sought_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "more").mkdir()
    path = write_tiff_stack(tmp_path / "scans" / "scan.toml", measurement())
    np.savetxt(tmp_path / "more" / "angles.txt", np.arange(12) * 7.0)
    tifffile.imwrite(tmp_path / "more" / "flats.tif", np.full((3, 10), 2000, "u2"))
    monkeypatch.chdir(tmp_path / "more")
    for flats in ("flats.tif", "../more/fl*.tif", str(tmp_path / "more" / "flats.tif")):
        header = inspect(path, SourceChoice(angles="angles.txt", flats=flats))
        assert (header.theta_deg[-1], header.n_flats, header.problems) == (77.0, 1, ())
    assert "no such file" in inspect(path, SourceChoice(flats="flats_*.tif")).problems[0]
