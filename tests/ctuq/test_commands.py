"""The command line when all is well; the reconstruction itself is a fake, as its own tests are elsewhere."""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ctuq import commands, jobs
from ctuq.__main__ import main
from ctuq.commands import app
from ctuq.doctor import Finding, Status
from ctuq.events import TerminalEvents
from ctuq.result_file import read_result
from tests.ctuq.fake_command import FakeReconstruct, names
from tests.ctuq.fake_results import fake_calibration, fake_reconstruction
from tests.ctuq.scan_layouts import measurement, write_nxtomo


def test_reconstruct_writes_result_picture_and_report(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["reconstruct", str(scan), "--out", str(out), "--set", "grid.size=16", "--seed", "5", "--device", "cpu"]
    assert main(arguments) == 0
    assert names(out) == ["r.h5", "r.html", "r.png"]
    assert fake.calls == [("disc", 5, "cpu")]
    provenance = read_result(out).provenance
    assert provenance.input_path == "disc.h5"
    again = "ctuq reconstruct disc.h5 --out disc-again.h5 --set grid.size=16 --seed 5 --device cpu"
    assert provenance.command == again
    said = capsys.readouterr()
    for words in ("32 × 24 pixels of 0.6 mm", "calibrated", "believe these error bars", "median", "beware"):
        assert words in said.out
    for path in (out, out.with_suffix(".png"), out.with_suffix(".html")):
        assert f"wrote         {path}\n" in said.out
    assert "fitting the network: 100 %" in said.err
    assert "fitting" not in said.out


def test_the_command_that_repeats_it_finds_the_configuration(
    fake: FakeReconstruct, scan: Path, out: Path, tmp_path: Path
) -> None:
    config = tmp_path / "settings" / "quick.yaml"
    config.parent.mkdir()
    config.write_text("grid: {size: 16}")
    assert main(["reconstruct", str(scan), "--out", str(out), "--config", str(config), "--no-report"]) == 0
    words = read_result(out).provenance.command.split()
    assert (scan.parent / words[words.index("--config") + 1]).resolve() == config.resolve()


def test_no_report_writes_the_result_only(fake: FakeReconstruct, scan: Path, out: Path) -> None:
    assert main(["reconstruct", str(scan), "--out", str(out), "--no-report"]) == 0
    assert names(out) == ["r.h5"]


def test_error_bars_that_fail_are_said_to(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.found = replace(fake.found, calibration=fake_calibration(spread=2.0))
    assert main(["reconstruct", str(scan), "--out", str(out), "--no-report"]) == 0
    assert "not calibrated\n" in (said := capsys.readouterr().out)
    assert "do not believe these error bars" in said


def test_row_is_a_setting_and_part_of_the_command(fake: FakeReconstruct, scan: Path, out: Path) -> None:
    assert main(["reconstruct", str(scan), "--out", str(out), "--row", "0", "--no-report"]) == 0
    assert "--row 0" in read_result(out).provenance.command


def test_json_gives_one_event_a_line(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = replace(fake.found.calibration, chi_square=math.nan)
    fake.found = replace(fake.found, image=torch.full_like(fake.found.image, math.nan), calibration=calibration)
    assert main(["reconstruct", str(scan), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON")

    events = [json.loads(line, parse_constant=refuse) for line in said.out.splitlines()]
    assert events[0] == {"event": "step", "stage": "fit", "done": 0, "total": 2, "info": {"loss": 1.0}}
    assert events[-1]["event"] == "finished"
    assert events[-1]["written"] == [str(out), str(out.with_suffix(".png")), str(out.with_suffix(".html"))]
    assert events[-1]["verdict"]["calibrated"] is False
    assert events[-1]["lowest"] is None
    assert events[-1]["warnings"] == ["beware"]
    assert said.err == ""


def test_check_prints_geometry_and_cost(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(scan), "--set", "grid.size=16"]) == 0
    said, errors = capsys.readouterr()
    assert errors == ""
    for words in ("12 views × 1 row × 16 detector pixels", "0° to 165°", "parallel beam", "memory", "no problems"):
        assert words in said
    for words in ("192 of one row: 12 views × 16 detector pixels", "16 × 16 pixels of 1 mm", "single rays test"):
        assert words in said


def test_check_says_little_memory_in_megabytes(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["grid.size=16", "network.channels=[2, 2]", "network.skip_channels=[0]"]
    assert main(["check", str(scan), *(word for setting in small for word in ("--set", setting))]) == 0
    assert re.search(r"memory +about \d+\.\d (kB|MB)\n", capsys.readouterr().out)


def test_check_shows_what_thinning_and_binning_leave(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(scan), "--set", "grid.size=8", "--set", "scan.angle_step=4"]) == 0
    left = "3 of 12 views (scan.angle_step=4) × 8 of 16 detector pixels (scan.detector_bin=2, by grid.size)"
    assert left in capsys.readouterr().out


def test_check_names_every_problem_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.zeros((4, 1, 8), np.float32)
        file["exchange/theta"] = np.zeros(3)
    assert main(["check", str(path), "--set", "grid.sise=3", "--json"]) == 2
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(event["problems"]) >= 3  # angles, geometry, setting
    assert any("sise" in problem for problem in event["problems"])


def test_check_tells_what_was_found_and_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_nxtomo(tmp_path / "scan.nxs", measurement())
    assert main(["check", str(path), "--set", "grid.size=8", "--set", "scan.row=2"]) == 0
    said = capsys.readouterr().out
    for words in (
        "NXtomo: entry/instrument/det has an image_key",
        "12 views × 3 rows × 10 detector pixels",
        "counts",
        "0° to 165°, from entry/sample/rotation_angle",
        "2 of 0 to 2",
        "lengths are in detector pixels",
    ):
        assert words in said
    assert main(["check", str(path), "--set", "scan.row=3"]) == 2
    assert "expected a row from 0 to 2, got 3" in capsys.readouterr().out


def test_check_and_reconstruct_take_the_same_choice(
    tmp_path: Path, fake: FakeReconstruct, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_nxtomo(tmp_path / "scan.nxs", measurement())
    write_nxtomo(path, measurement(seed=1), entry="entry2", mode="r+")
    out = tmp_path / "r.h5"
    for words in (["check", str(path)], ["reconstruct", str(path), "--out", str(out)]):
        assert main(words) == 2
        said = capsys.readouterr()
        assert "choose one with --entry entry" in said.out + said.err
    np.savetxt(tmp_path / "angles.txt", np.arange(12) * 30.0)
    with h5py.File(path, "r+") as file:
        file["open_beam"] = 2000.0
    choice = ["--entry", "entry2", "--angles", str(tmp_path / "angles.txt"), "--flats", "open_beam"]
    assert main(["check", str(path), *choice, "--set", "grid.size=8"]) == 0
    assert "0° to 330°" in capsys.readouterr().out
    assert main(["reconstruct", str(path), "--out", str(out), "--no-report", "--row", "1", *choice]) == 0
    assert fake.calls[-1][0] == "entry2 of scan row 1"
    assert "--entry entry2 --angles angles.txt --flats open_beam" in read_result(out).provenance.command


def test_report_of_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fake_reconstruction().save(tmp_path / "r.h5")
    assert main(["report", str(result)]) == 0
    assert (tmp_path / "r.html").exists()
    assert main(["report", str(result)]) == 2  # there is one now
    assert main(["report", str(result), "--force"]) == 0
    assert main(["report", str(result), "--out", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "r.html").read_bytes()
    assert main(["report", str(tmp_path / "absent.h5")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_demo_writes_three_files_and_says_where(
    fake: FakeReconstruct,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scan: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(jobs, "demo_scan", lambda: scan)
    folder = tmp_path / "new"
    assert main(["demo", "--out", str(folder)]) == 0
    assert names(folder / "x") == ["ctuq-demo.h5", "ctuq-demo.html", "ctuq-demo.png"]
    assert f"Open {folder / 'ctuq-demo.html'} in a browser." in capsys.readouterr().out
    assert main(["demo", "--out", str(folder)]) == 2
    assert main(["demo", "--out", str(folder), "--force"]) == 0
    assert main(["demo", "--out", str(tmp_path / "no" / "parent")]) == 2


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("absent", 0), ("problem", 1)])
def test_doctor_fails_when_something_that_should_work_does_not(
    status: Status, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "diagnose", lambda _: [Finding("torch", status, "2.13.0", {"major": 2})])
    assert main(["doctor"]) == code
    assert capsys.readouterr().out.split() == [status, "torch", "2.13.0"]
    assert main(["doctor", "--json"]) == code
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert found == {"event": "found", "name": "torch", "status": status, "detail": "2.13.0", "figures": {"major": 2}}


@pytest.mark.parametrize(
    "command",
    ["demo", "check", "simulate", "reconstruct", "plan", "replay", "report", "doctor"]
    + [f"acquire {step}" for step in ("start", "next", "tell", "status")],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    ended = CliRunner().invoke(
        app, [*command.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    )
    assert ended.exit_code == 0
    assert f"Example: ctuq {command}" in ended.output
    if command not in ("doctor", "demo"):
        assert "mm" in ended.output or "degrees" in ended.output


def test_a_log_times_a_stage_that_comes_again_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 3.0, 100.0, 105.0])
    monkeypatch.setattr("ctuq.progress.time.monotonic", lambda: next(now))
    events = TerminalEvents()
    for _ in range(2):
        events.step("fit", 0, 2, {})
        events.step("fit", 2, 2, {})
    begins, ends = "fitting the network", "fitting the network: 100 %"
    assert capsys.readouterr().err.splitlines() == [begins, f"{ends}, 3 s", begins, f"{ends}, 5 s"]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ctuq {importlib.metadata.version('ctuq')}\n"
