"""Plans on disk and in pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from silx.io.nxdata.parse import get_default

from ctuq import AnglePlan
from ctuq.errors import InputError
from ctuq.plan_figures import draw_plan
from ctuq.verdict import judge
from tests.ctuq.fake_results import fake_calibration, fake_provenance

DEGREES = (120.0, 10.0, 100.0)


def made() -> AnglePlan:
    """The last measured view is at 90 degrees: the motor goes to 100, on to 120, and back to 10."""
    return AnglePlan(
        angles_rad=torch.deg2rad(torch.tensor(DEGREES, dtype=torch.float64)),
        scores=torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64),
        order=torch.tensor([1, 2, 0]),
        region_std=torch.tensor([0.4, 0.3, 0.25, 0.2], dtype=torch.float64),
        criterion="eig",
        unit="nat",
        candidates_rad=torch.linspace(0, 3, 30, dtype=torch.float64),
        candidate_scores=torch.linspace(1, 3, 30, dtype=torch.float64),
        measured_rad=torch.tensor([0.0, 1.5], dtype=torch.float64),
        provenance=fake_provenance(scan_name="$odd_name$"),
        verdict=judge(fake_calibration()),
        notes=("beware",),
    )


def test_npy_is_degrees_in_the_order_of_the_motor(tmp_path: Path) -> None:
    assert np.load(made().save(tmp_path / "a.npy")).tolist() == [100.0, 120.0, 10.0]


def test_csv_and_json_are_the_most_telling_first(tmp_path: Path) -> None:
    rows = list(csv.DictReader(made().save(tmp_path / "a.csv").read_text("utf-8").splitlines()))
    assert [(float(row["angle_deg"]), float(row["score"]), int(row["order"])) for row in rows] == [
        (120.0, 3.0, 1),
        (10.0, 2.0, 2),
        (100.0, 1.0, 0),
    ]
    record = json.loads(made().save(tmp_path / "a.json").read_text("utf-8"))
    assert [view["angle_deg"] for view in record["views"]] == list(DEGREES)
    assert (record["criterion"], record["notes"]) == ("eig", ["beware"])


def test_h5_opens_on_the_scores(tmp_path: Path) -> None:
    with h5py.File(made().save(tmp_path / "a.h5")) as file:
        group = file["entry/plan"]
        assert group["angle_deg"][()].tolist() == list(DEGREES)
        assert group["order"][()].tolist() == [1, 2, 0]
        shown = get_default(file, validate=True)
        assert shown is not None
        assert shown.is_valid
        np.testing.assert_array_equal(shown.signal, [3.0, 2.0, 1.0])


def test_other_suffixes_and_files_that_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.npy, \.csv, \.json, \.h5, got a\.txt"):
        made().save(tmp_path / "a.txt")
    path = made().save(tmp_path / "a.npy")
    with pytest.raises(InputError, match="exists"):
        made().save(path)
    made().save(path, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_the_picture_shows_every_view_and_the_promise(tmp_path: Path) -> None:
    circle, gains, promise = draw_plan(made()).axes
    assert [text.get_text() for text in circle.texts] == ["1", "2", "3"]
    assert [round(float(np.degrees(text.xy[0]))) for text in circle.texts] == [120, 10, 100]  # type: ignore[attr-defined]
    assert [text.get_text() for text in gains.texts] == ["1", "2", "3"]
    assert gains.lines[0].get_ydata().tolist() == made().candidate_scores.tolist()  # type: ignore[union-attr]
    assert promise.lines[0].get_xdata().tolist() == [2, 3, 4, 5]  # type: ignore[union-attr]
    assert promise.lines[0].get_ydata().tolist() == [0.4, 0.3, 0.25, 0.2]  # type: ignore[union-attr]
    assert promise.get_ylim()[0] == 0
    assert promise.get_ylim()[1] >= 1.05 * 0.4  # room for a whole dot
    assert made().picture(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
