"""Every command that reads a scan takes what its user names of the file, and survives a file that HDF5 does not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ctuq.__main__ import main
from ctuq.sinogram_file import write_sinogram_file
from tests.ctuq.fake_planning import gaussian_reconstruction, scan_of

COMMANDS = {
    "check": ["check", "{scan}"],
    "reconstruct": ["reconstruct", "{scan}", "--out", "{out}"],
    "plan": ["plan", "{scan}", "-n", "2"],
    "replay": ["replay", "{scan}", "--out", "{out}", "--start", "2", "-n", "1"],
    "acquire start": ["acquire", "start", "{out}", "{scan}"],
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    write_sinogram_file(tmp_path / "scan.h5", scan_of((0, 45, 90, 135)))
    return {"scan": tmp_path / "scan.h5", "out": tmp_path / "out.h5"}


def words(command: str, places: dict[str, Path]) -> list[str]:
    return [word.format(**places) for word in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_named_of_the_file_is_used(
    command: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--entry", "exchange", "--data", "exchange/data", "--angles", "exchange/nothing"]
    assert main([*words(command, places), *named, "--flats", "flats", "--darks", "darks"]) == 2
    said = capsys.readouterr()
    assert "exchange/nothing" in said.out + said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_over_which_hdf5_crashes_is_refused(
    command: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crashed(*_: Any, **__: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], returncode=-11)

    monkeypatch.setattr(subprocess, "run", crashed)
    assert main(words(command, places)) == 2
    assert "over which HDF5 crashed" in capsys.readouterr().err


def test_nothing_is_to_be_named_of_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = gaussian_reconstruction(scan_of((0, 45, 90, 135))).save(tmp_path / "r.h5")
    assert main(["plan", str(result), "-n", "1", "--entry", "one"]) == 2
    assert "as it is a result" in capsys.readouterr().err
