"""Requests that are wrong or do not end well: each has its message and exit code, and leaves no half file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer

from ctuq.__main__ import main
from ctuq.computing_device import resolve_device
from ctuq.errors import CtuqError, InputError
from ctuq.outcome import outcome
from ctuq.result_file import read_result
from tests.ctuq.fake_command import FakeReconstruct, names

BAD_REQUESTS = {
    "no such scan": (["{missing}", "--out", "{out}"], "no such file"),
    "scan that is no HDF5": (["{text}", "--out", "{out}"], "expected an HDF5 file"),
    "unknown setting": (["{scan}", "--out", "{out}", "--set", "grid.sise=3"], "sise"),
    "row that is not there": (["{scan}", "--out", "{out}", "--row", "7"], "row"),
    "folder missing": (["{scan}", "--out", "{missing}/r.h5"], "does not exist"),
    "folder is a file": (["{scan}", "--out", "{text}/r.h5"], "is a file"),
    "out is a folder": (["{scan}", "--out", "{folder}"], "is a folder"),
    "out is the picture": (["{scan}", "--out", "{folder}/r.png"], "r.h5"),
    "out is the scan": (["{scan}", "--out", "{scan}", "--force"], "differ from what they are made from"),
    "negative seed": (["{scan}", "--out", "{out}", "--seed", "-1"], "seed"),
    "unknown device": (["{scan}", "--out", "{out}", "--device", "tpu"], "tpu"),
    "no out": (["{scan}"], "--out"),
    "unknown option": (["{scan}", "--out", "{out}", "--sise", "3"], "--sise"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_wrong_request_ends_with_2_and_nothing_written(
    case: str, fake: FakeReconstruct, scan: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "in" / "text.h5"
    text.write_text("text")
    places = {"scan": scan, "out": out, "missing": tmp_path / "missing", "text": text, "folder": out.parent}
    template, words = BAD_REQUESTS[case]
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert main(["reconstruct", *(part.format(**places) for part in template)]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert fake.calls == []
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("suffix", [".h5", ".png", ".html"])
def test_every_output_that_exists_is_refused_before_the_work_begins(
    suffix: str, fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = out.with_suffix(suffix)
    there.write_text("precious")
    assert main(["reconstruct", str(scan), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (fake.calls, names(out), there.read_text()) == ([], [there.name], "precious")


def test_force_replaces_every_output(fake: FakeReconstruct, scan: Path, out: Path) -> None:
    outputs = [out.with_suffix(suffix) for suffix in (".h5", ".png", ".html")]
    for path in outputs:
        path.write_text("old")
    assert main(["reconstruct", str(scan), "--out", str(out), "--force"]) == 0
    assert names(out) == ["r.h5", "r.html", "r.png"]
    assert b"old" not in [path.read_bytes() for path in outputs]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device that can be used")
def test_cuda_is_refused_where_there_is_none(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", str(scan), "--out", str(out), "--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (InputError("expected a, got b, try c"), 2, "expected a, got b, try c"),
        (CtuqError("solver did not converge"), 1, "solver did not converge"),
        (RuntimeError("odd"), 1, "RuntimeError: odd; --debug shows where"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 3, "interrupted: nothing was written"),
    ],
)
def test_a_failure_has_its_exit_code_and_leaves_nothing(
    failure: BaseException,
    code: int,
    words: str,
    fake: FakeReconstruct,
    scan: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.failure = failure
    assert main(["reconstruct", str(scan), "--out", str(out)]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert names(out) == []
    assert main(["reconstruct", str(scan), "--out", str(out), "--json"]) == code
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", code)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((), "nothing was written; the same command starts again"),
        (("found.points",), "found.points; the same command goes on from there"),
        (("found.points", "page.html"), "page.html; the same command with --force starts again"),
    ],
)
def test_an_interruption_says_what_the_same_command_does(
    made: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in made]
    for path in paths:
        if path.suffix == ".points":
            path.mkdir()
        else:
            path.touch()

    def interrupted() -> None:
        with outcome(as_json=False, debug=False) as events:
            events.written.extend(paths)
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit):
        interrupted()
    assert words in capsys.readouterr().err.replace("\n", " ")


def test_debug_shows_the_traceback(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.failure = RuntimeError("odd")
    assert main(["reconstruct", str(scan), "--out", str(out), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_while_writing_names_what_is_whole(
    fake: FakeReconstruct,
    scan: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupt)
    assert main(["reconstruct", str(scan), "--out", str(out)]) == 3
    assert f"whole on disk: {out}" in capsys.readouterr().err
    assert names(out) == ["r.h5"]
    assert read_result(out).provenance.scan_name == "disc"
