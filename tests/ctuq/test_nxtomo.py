"""NXtomo files as beamlines leave them: links, several entries, interleaved frames, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ctuq.errors import InputError
from ctuq.scan_file import inspect, read_scan
from ctuq.source_choice import SourceChoice
from tests.ctuq.scan_layouts import interleaved, measurement, write_nxtomo

DETECTOR = "entry/instrument/det"
ANGLE = "entry/sample/rotation_angle"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_nxtomo(tmp_path / "scan.nxs", measurement())


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(name: str, values: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        kept = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(kept)

    return change


def delete(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]

    return change


def test_what_is_told(path: Path) -> None:
    header = inspect(path)
    assert (header.layout, header.why) == ("NXtomo", "entry/instrument/det has an image_key")
    assert (header.name, header.entries, header.angles_from) == ("entry of scan", (), ANGLE)
    assert header.theta_deg == tuple(15.0 * i for i in range(12))
    assert header.notes[0] == "1 frame left out, which the file calls invalid (image_key 3)"
    assert header.notes[1].startswith(
        "no geometry and no pixel size in the file: parallel rays; lengths are in detector"
    )
    assert len(header.notes) == 2


@pytest.mark.parametrize(("size", "unit", "pitch_mm"), [(5.0, "um", 0.005), (0.1, "mm", 0.1), (2e-6, b"m", 0.002)])
def test_a_pixel_size_with_its_unit_is_the_pitch(path: Path, size: float, unit: Any, pitch_mm: float) -> None:
    def change(file: Any) -> None:
        file[f"{DETECTOR}/x_pixel_size"] = size
        file[f"{DETECTOR}/x_pixel_size"].attrs["units"] = unit

    assert read_scan(changed(path, change)).geometry.pitch_mm == pytest.approx(pitch_mm)
    assert "entry/instrument/det/x_pixel_size" in inspect(path).notes[-1]


def test_a_pixel_size_without_unit_is_left_out_and_said(path: Path) -> None:
    header = inspect(changed(path, lambda file: file.update({f"{DETECTOR}/x_pixel_size": 5.0})))
    assert header.beam.pitch_mm == 1.0
    assert "x_pixel_size is left out: 5 with units 'none' is no length" in " ".join(header.notes)


def two_entries(path: Path) -> Path:
    write_nxtomo(path, measurement(seed=1), entry="entry2", mode="r+")
    return path


def test_of_several_entries_one_must_be_chosen(path: Path) -> None:
    (problem,) = inspect(two_entries(path)).problems
    assert "expected one scan of the file's entry, entry2, got 2: choose one with --entry entry" in problem
    first, second = (read_scan(path, row=0, choice=SourceChoice(entry=name)) for name in ("entry", "/entry2"))
    assert (first.name, second.name) == ("entry of scan row 0", "entry2 of scan row 0")
    assert not torch.equal(first.sinogram, second.sinogram)
    assert inspect(path, SourceChoice(entry="entry2")).entries == ("entry", "entry2")
    with pytest.raises(InputError, match="got entry3: choose one with --entry entry"):
        read_scan(path, choice=SourceChoice(entry="entry3"))


def test_the_default_entry_is_taken_and_said(path: Path) -> None:
    changed(two_entries(path), lambda file: file.attrs.update({"default": "entry2"}))
    assert inspect(path).name == "entry2 of scan"
    assert inspect(path).notes[0] == "the file holds entry, entry2: its default entry2 is read"


def test_angles_of_the_projections_alone(path: Path) -> None:
    changed(path, replace(ANGLE, np.arange(12) * 15.0))
    assert inspect(path).theta_deg == tuple(15.0 * i for i in range(12))


def test_external_links_are_followed(path: Path) -> None:
    path.rename(path.with_name("frames.h5"))
    with h5py.File(path.with_name("frames.h5")) as source, h5py.File(path, "w") as file:
        source.copy("entry", file)
        del file[f"{DETECTOR}/data"]
        file[f"{DETECTOR}/data"] = h5py.ExternalLink("frames.h5", f"{DETECTOR}/data")
    assert torch.equal(read_scan(path, row=1).sinogram, read_scan(path.with_name("frames.h5"), row=1).sinogram)


def test_a_virtual_dataset_of_one_file_a_frame(path: Path, tmp_path: Path) -> None:
    wanted = read_scan(path, row=1).sinogram
    frames, _ = interleaved(measurement())
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    for number, frame in enumerate(frames):
        with h5py.File(tmp_path / f"frame_{number}.h5", "w") as file:
            file["data"] = frame
        layout[number] = h5py.VirtualSource(f"frame_{number}.h5", "data", frame.shape)

    def change(file: Any) -> None:
        del file[f"{DETECTOR}/data"]
        file.create_virtual_dataset(f"{DETECTOR}/data", layout)

    assert torch.equal(read_scan(changed(path, change), row=1).sinogram, wanted)
    (tmp_path / "frame_3.h5").unlink()
    assert "a virtual dataset whose source frame_3.h5 is not there" in inspect(path).problems[0]


def external_loop(file: Any) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as second:
        second["data"] = h5py.ExternalLink(Path(file.filename).name, f"{DETECTOR}/data")
    del file[f"{DETECTOR}/data"]
    file[f"{DETECTOR}/data"] = h5py.ExternalLink(other.name, "data")


def no_flats(file: Any) -> None:
    keys = file[f"{DETECTOR}/image_key"][()]
    file[f"{DETECTOR}/image_key"][...] = np.where(keys == 1, 3, keys)


def second_detector(file: Any) -> None:
    file.copy(DETECTOR, "entry/instrument/other")


N_FRAMES = 12 + 4 + 3 + 1
BAD: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "no data": (delete(f"{DETECTOR}/data"), [f"expected a dataset {DETECTOR}/data", "got none"]),
    "no angles": (delete(ANGLE), [f"expected a dataset {ANGLE}", "got none"]),
    "link loop": (external_loop, ["a link to data in other.h5, which leads nowhere"]),
    "short keys": (
        replace(f"{DETECTOR}/image_key", np.zeros(7)),
        [f"an image_key for each of {N_FRAMES} frames", "got 7"],
    ),
    "strange key": (replace(f"{DETECTOR}/image_key", np.full(N_FRAMES, 9)), ["image_key of 0 to 3", "got 9"]),
    "no projections": (replace(f"{DETECTOR}/image_key", np.ones(N_FRAMES)), ["projections (image_key 0)", "got none"]),
    "keys of text": (replace(f"{DETECTOR}/image_key", np.full(N_FRAMES, b"0")), ["expected numbers", "image_key"]),
    "no flats": (no_flats, ["frames of the open beam", "got no flats"]),
    "other angles": (replace(ANGLE, np.arange(9.0)), ["expected 12 angles", "got 9"]),
    "angles stand still": (replace(ANGLE, np.full(N_FRAMES, 30.0)), ["from several angles", "12 times 30 degrees"]),
    "NaN angle": (replace(ANGLE, np.full(N_FRAMES, np.nan)), ["expected finite angles"]),
    "flat detector": (replace(f"{DETECTOR}/data", np.ones((N_FRAMES, 5))), ["three axes", "got shape"]),
    "two detectors": (
        second_detector,
        ["expected one detector with data, got 2", "--data one of entry/instrument/det"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_what_to_try(path: Path, case: str) -> None:
    change, fragments = BAD[case]
    problems = inspect(changed(path, change)).problems
    assert problems
    for fragment in fragments:
        assert fragment in problems[0]
    with pytest.raises(InputError, match="cannot be read as a scan"):
        read_scan(path)


def test_named_data_of_one_of_two_detectors(path: Path) -> None:
    wanted = read_scan(path, row=0).sinogram
    changed(path, second_detector)
    chosen = SourceChoice(data="entry/instrument/other/data")
    assert torch.equal(read_scan(path, row=0, choice=chosen).sinogram, wanted)


def test_angles_are_found_on_the_axis_of_the_detectors_data(path: Path) -> None:
    def change(file: Any) -> None:
        group = file.create_group("entry/det")
        group["motor_theta"] = file[ANGLE][()]
        group.attrs.update({"axes": ["motor_theta_set", ".", "."], "motor_theta_indices": 0, "current_indices": 0})
        del file[ANGLE]

    header = inspect(changed(path, change))
    assert header.angles_from == "entry/det/motor_theta"
    assert header.theta_deg[-1] == 165.0
    assert any("says no unit: taken as degrees, as they reach 165" in note for note in header.notes)


@pytest.mark.parametrize("soft", [False, True])
def test_links_to_the_detector_are_no_second_one(path: Path, *, soft: bool) -> None:
    def change(file: Any) -> None:
        group = file.create_group("entry/data")
        group.attrs["NX_class"] = "NXdata"
        for name in ("data", "image_key"):
            group[name] = h5py.SoftLink(f"/{DETECTOR}/{name}") if soft else file[f"{DETECTOR}/{name}"]
        file["entry/again"] = h5py.SoftLink("/entry/instrument")

    assert inspect(changed(path, change)).problems == ()
    assert inspect(path).why == "entry/instrument/det has an image_key"


def test_a_scan_in_a_subentry(tmp_path: Path, path: Path) -> None:
    with h5py.File(path) as source, h5py.File(tmp_path / "sub.nxs", "w") as file:
        file.create_group("entry1").attrs["NX_class"] = "NXentry"
        source.copy("entry", file["entry1"], name="tomo_entry")
        file["entry1/tomo_entry"].attrs["NX_class"] = "NXsubentry"
    assert inspect(tmp_path / "sub.nxs").angles_from == "entry1/tomo_entry/sample/rotation_angle"
    for entry in ("entry1", "entry1/tomo_entry", None):
        back = read_scan(tmp_path / "sub.nxs", row=0, choice=SourceChoice(entry=entry))
        assert torch.equal(back.sinogram, read_scan(path, row=0).sinogram)
