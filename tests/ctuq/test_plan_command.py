"""`ctuq plan`, from a scan and from a result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ctuq import plan_jobs
from ctuq.__main__ import main
from ctuq.errors import CtuqError
from ctuq.result_file import read_result
from ctuq.sinogram_file import write_sinogram_file
from tests.ctuq.fake_planning import SMALL, GaussianReconstruct, gaussian_reconstruction, scan_of

SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> GaussianReconstruct:
    stand_in = GaussianReconstruct()
    monkeypatch.setattr(plan_jobs, "reconstruct", stand_in)
    return stand_in


@pytest.fixture
def few(tmp_path: Path) -> Path:
    write_sinogram_file(tmp_path / "few.h5", scan_of((0, 45, 90, 135)))
    return tmp_path / "few.h5"


def test_a_scan_is_reconstructed_and_its_plan_printed_and_written(
    model: GaussianReconstruct, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [tmp_path / name for name in ("a.npy", "a.csv")]
    arguments = ["plan", str(few), "--candidates", "36", "-n", "3", *SETTINGS]
    assert main([*arguments, *(word for out in outs for word in ("--out", str(out)))]) == 0
    said = capsys.readouterr().out
    angles = np.load(outs[0])
    assert len(angles) == 3
    for angle in angles:
        assert f"{angle:.3f}°" in said
    for words in (
        "3 views to add to 4",
        "score (nats)",
        "1/mm (-",
        f"wrote     {tmp_path / 'a.png'}",
        f"wrote     {tmp_path / 'a.html'}",
    ):
        assert words in said
    assert model.n_views == [4]
    assert main([*arguments, "--out", str(outs[0])]) == 2  # there is one now
    assert model.n_views == [4]
    assert main([*arguments, "--out", str(outs[0]), "--force", "--json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "planned"
    assert sorted(view["angle_deg"] for view in event["views"]) == pytest.approx(sorted(angles))


def test_a_result_is_planned_from_without_reconstructing(
    model: GaussianReconstruct, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = gaussian_reconstruction(scan_of((0, 45, 90, 135))).save(tmp_path / "r.h5")
    assert main(["plan", str(result), "--candidates", "36", "-n", "4"]) == 0
    said = capsys.readouterr().out
    assert "disc: 2 views to add to 4" in said
    assert "warning   2 of 4 views: of 16 draws" in said
    assert model.n_views == []
    region = ["--criterion", "roi", "--roi", "disc:2,2,3"]
    assert main(["plan", str(result), "--candidates", "36", "-n", "1", *region]) == 0
    said = capsys.readouterr().out
    assert "score (1/mm²)" in said
    assert "disc: 1 view to add to 4" in said


def test_the_reconstruction_can_be_kept_and_planned_from_again(
    model: GaussianReconstruct, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.h5"
    arguments = ["plan", str(few), "--candidates", "36", "-n", "1", *SETTINGS, "--keep-reconstruction", str(kept)]
    assert main(arguments) == 0
    assert f"wrote     {kept}" in capsys.readouterr().out
    assert read_result(kept).provenance.command.startswith("ctuq reconstruct few.h5 --out")
    assert main(arguments) == 2  # there is one now, and nothing is computed
    assert model.n_views == [4]
    assert main(["plan", str(kept), "--candidates", "36", "-n", "1"]) == 0
    assert main(["plan", str(kept), "-n", "1", "--keep-reconstruction", str(tmp_path / "other.h5")]) == 2
    assert "which is kept already" in capsys.readouterr().err
    assert model.n_views == [4]


def test_the_reconstruction_is_kept_before_the_plan_can_fail(
    model: GaussianReconstruct, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CtuqError("out of luck")

    monkeypatch.setattr(plan_jobs, "plan", fail)
    kept = tmp_path / "kept.h5"
    words = ["--candidates", "5", "-n", "1", "--keep-reconstruction", str(kept)]
    assert main(["plan", str(few), *SETTINGS, *words]) == 1
    assert read_result(kept).provenance.scan_name == "disc"


def test_constraints_and_costs_are_settings(model: GaussianReconstruct, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"

    def planned(*settings: str) -> list[dict[str, float]]:
        words = [word for setting in settings for word in ("--set", setting)]
        arguments = ["plan", str(few), "--candidates", "36", "-n", "3", "--out", str(out), "--force"]
        assert main([*arguments, *SETTINGS, *words]) == 0
        views: list[dict[str, float]] = json.loads(out.read_text("utf-8"))["views"]
        return views

    apart = [view["angle_deg"] for view in planned("design.min_separation_deg=20")]
    places = np.sort([*apart, 0, 45, 90, 135, 180])
    assert np.diff(places).min() >= 20
    within = planned("design.forbidden_deg=[[0, 80], [100, 170]]")
    assert all(80 < view["angle_deg"] < 100 or view["angle_deg"] > 170 for view in within)
    dear = [view["angle_deg"] for view in planned("design.turning_cost=10")]
    assert dear[0] in {130.0, 140.0}  # beside the last measured view


def test_candidates_may_be_a_file_of_degrees(
    model: GaussianReconstruct, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "angles.txt").write_text("10.5\n20\n30\n", encoding="utf-8")
    assert main(["plan", str(few), "--candidates", str(tmp_path / "angles.txt"), "-n", "3", *SETTINGS]) == 0
    assert "10.500°" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidates", "some"], "a number or a file of angles"),
        (["--candidates", "0"], "at least 1 candidate, got 0"),
        (["--candidates", "-5"], "a number or a file of angles"),
        (["--candidates", "{here}/bad.npy"], "must be finite"),
        (["--candidates", "{here}/twice.txt"], "more than once"),
        (["--candidates", "5", "-n", "9"], "at least 9 candidates"),
        (["--set", "design.forbidden_deg=[[0, 180]]"], "at least 2 candidates to choose from, got 0"),
        (["--set", "design.min_separation_deg=.inf"], "must be finite"),
        (["-n", "-1"], "Invalid value for"),
        (["--seed", "-1"], "Invalid value for"),
        (["--roi", "disc:90,0,1"], "a pixel inside"),
        (["--roi", "disc:nan,0,1"], "disc:X,Y,RADIUS"),
        (["--out", "a.txt"], "to end in .npy, .csv, .json, .h5"),
        (["--out", "{missing}/a.npy"], "does not exist"),
        (["--roi", "square:1"], "disc:X,Y,RADIUS"),
        (["--criterion", "best"], "best"),
        (["--set", "design.n_draw=3"], "design.n_draw"),
        (["--device", "cuda"], "a CUDA device"),
        (["--out", "a.h5", "--keep-reconstruction", "a.h5"], "a name of its own"),
    ],
)
def test_a_wrong_request_ends_with_2(
    arguments: list[str],
    message: str,
    model: GaussianReconstruct,
    few: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "bad.npy", [10.0, np.nan])
    (tmp_path / "twice.txt").write_text("10\n10\n20\n", encoding="utf-8")
    given = [word.format(missing=tmp_path / "missing", here=tmp_path) for word in arguments]
    assert main(["plan", str(few), "-n", "2", *SETTINGS, *given]) == 2
    assert message in capsys.readouterr().err
    assert model.n_views == []
