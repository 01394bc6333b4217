"""`ctuq reconstruct --rows`: parts, their volume, and what is said; the reconstruction itself is a fake."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ctuq.__main__ import main
from ctuq.errors import CtuqError, InputError
from ctuq.result_file import read_result
from ctuq.scan import Scan
from tests.ctuq.fake_batch import files, write_scan
from tests.ctuq.fake_command import FakeReconstruct


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "in" / "stack.h5", n_rows=5)


def arguments(scan: Path, out: Path, rows: str = "1:4", *more: str) -> list[str]:
    return ["reconstruct", str(scan), "--out", str(out), "--rows", rows, *more]


def test_rows_become_parts_and_one_volume(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(scan, out)) == 0
    parts = [f"r.parts/row-{row:05d}.h5" for row in (1, 2, 3)]
    assert files(out.parent) == ["r.h5", "r.html", *parts, "r.png"]
    assert [name for name, _, _ in fake.calls] == [f"stack row {row}" for row in (1, 2, 3)]
    with h5py.File(out) as file:
        data, errors = file["entry/data/data"], file["entry/data/data_errors"]
        assert data.shape == (3, 24, 32)
        np.testing.assert_array_equal(data[1], fake.found.image)
        np.testing.assert_array_equal(errors[2], fake.found.std)
        np.testing.assert_array_equal(file["entry/data/z"][:], [0.5, 1.0, 1.5])
        assert file["entry/rows/row"][:].tolist() == [1, 2, 3]
    with pytest.raises(InputError, match=r"name one in r\.parts"):
        read_result(out)
    provenance = read_result(out.parent / parts[0]).provenance
    assert provenance.scan_name == "stack row 1"
    assert provenance.command.endswith("--row 1 --seed 0")
    said = capsys.readouterr()
    for words in ("3 of 3 rows", "calibrated in 3 of 3 rows", f"{out}, with its rows in {out.parent / 'r.parts'}"):
        assert words in said.out
    assert "of row 2" in said.out
    assert "row 1: deviation median" in said.err
    assert "detector rows: 3 of 3 rows" in said.err


def test_a_row_that_fails_is_missing_and_the_code_says_so(
    fake: FakeReconstruct,
    scan: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(scan: Scan, *args: object, **more: object) -> object:
        if scan.name.endswith("2"):
            raise CtuqError("nothing there")
        return fake(scan, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ctuq.jobs.reconstruct", failing)
    assert main(arguments(scan, out, "1:4", "--no-report", "--json")) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["done"]) == ("volume", 2)
    assert last["failures"] == [{"row": 2, "reason": "nothing there"}]
    with h5py.File(out) as file:
        assert np.isnan(file["entry/data/data"][1]).all()
        assert file["entry/rows/state"].asstr()[:].tolist() == ["done", "nothing there", "done"]


def test_where_every_row_fails_nothing_is_written(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.failure = CtuqError("nothing there")
    assert main(arguments(scan, out)) == 1
    assert "nothing there" in capsys.readouterr().err
    assert files(out.parent) == []


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ("2:9", (), "expected --rows from 0:5"),
        ("3:3", (), "A:B with A below B"),
        ("1-3", (), "A:B with A below B"),
        ("1:3", ("--row", "1"), "got both"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    rows: str,
    more: tuple[str, ...],
    words: str,
    fake: FakeReconstruct,
    scan: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(scan, out, rows, *more)) == 2
    assert words in capsys.readouterr().err
    assert (fake.calls, files(out.parent)) == ([], [])


def test_parts_that_exist_are_replaced_by_force_alone(fake: FakeReconstruct, scan: Path, out: Path) -> None:
    assert main(arguments(scan, out, "0:1", "--no-report")) == 0
    out.unlink()
    assert main(arguments(scan, out, "0:2", "--no-report")) == 2
    assert main(arguments(scan, out, "0:2", "--no-report", "--force")) == 0
    with h5py.File(out) as file:
        assert file["entry/data/data"].shape[0] == 2


def test_a_row_that_fails_now_leaves_no_part_of_an_older_run(
    fake: FakeReconstruct, scan: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments(scan, out, "1:4", "--no-report")) == 0

    def failing(scan: Scan, *args: object, **more: object) -> object:
        if scan.name.endswith("2"):
            raise CtuqError("nothing there")
        return fake(scan, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ctuq.jobs.reconstruct", failing)
    assert main(arguments(scan, out, "1:4", "--no-report", "--force")) == 1
    assert files(out.parent) == ["r.h5", "r.parts/row-00001.h5", "r.parts/row-00003.h5"]


def test_an_interruption_names_the_parts_that_are_whole(
    fake: FakeReconstruct, scan: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(scan: Scan, *args: object, **more: object) -> object:
        if scan.name.endswith("2"):
            raise KeyboardInterrupt
        return fake(scan, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ctuq.jobs.reconstruct", interrupted)
    assert main(arguments(scan, out)) == 3
    assert "row-00001.h5; the same command with --force starts again" in capsys.readouterr().err
    assert files(out.parent) == ["r.parts/row-00001.h5"]
