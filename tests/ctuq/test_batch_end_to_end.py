"""The command with real reconstructions of sixteen pixels, real worker processes, and real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctuq import batch_command
from ctuq.__main__ import main
from ctuq.batch import Closing
from ctuq.result_file import read_result
from tests.benchmarks.batch_cases import QUICK, differences, leftovers, rows_of, write_scans, write_volume_scan
from tests.ctuq.fake_batch import files

SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as `batch` below gives its workers: sums over other blocks are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch(scans: Path, out: Path, *options: str) -> int:
    return main(["batch", str(scans), "--out", str(out), "--threads", "1", *SETTINGS, *options])


def test_results_are_those_of_reconstruct_and_the_page_tells_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    scans, out, alone = write_scans(tmp_path / "in", 2), tmp_path / "out", tmp_path / "alone"
    (scans / "bad.h5").write_bytes((scans / "scan00.h5").read_bytes()[:2500])
    assert batch(scans, out, "--workers", "1") == 1
    said = capsys.readouterr().out
    assert "2 done, 1 failed, of 3 slices" in said
    assert re.search(r"error bars  calibrated in [012] of 2", said)
    assert "cut short" in said
    names = [f"scan0{number}{suffix}" for number in (0, 1) for suffix in (".h5", ".html", ".png")]
    assert files(out) == ["index.html", "manifest.sqlite", *names]
    alone.mkdir()
    again = read_result(out / "scan01.h5").provenance.command
    assert again.startswith("ctuq reconstruct scan01.h5 --out scan01-again.h5 --set fit.steps=20")
    arguments = ["reconstruct", str(scans / "scan01.h5"), "--out", str(alone / "scan01.h5"), "--no-report"]
    assert main([*arguments, *SETTINGS]) == 0
    one, other = read_result(out / "scan01.h5"), read_result(alone / "scan01.h5")
    assert one.std.equal(other.std)
    assert one.image.equal(other.image)
    page = (out / "index.html").read_text()
    assert page.count("data:image/webp;base64,") == 2
    assert "http" not in page.replace("Content-Security-Policy", "").replace("http-equiv", "")
    for words in ("2 of 3 slices done, 1 failed", "scan00.html", "cut short", "chi-square"):
        assert words in page


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--limit", "1"), 0)])
def test_what_was_left_without_being_asked_for_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    counts = {"pending": 1, "running": 0, "done": 1, "failed": 0}
    closing = Closing(counts, 1, 1, (), 0, (), 1.0, interrupted=False, page=tmp_path / "index.html")
    monkeypatch.setattr(batch_command, "run_batch", lambda request, events: closing)
    assert batch(tmp_path, tmp_path / "out", *options) == code


def test_rows_become_a_volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = write_volume_scan(tmp_path / "vol.h5", 3), tmp_path / "out"
    assert batch(scan, out, "--row-block", "2", "--workers", "1", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (events[-1]["event"], events[-1]["done"]) == ("batch", 3)
    assert [event["row"] for event in events if event["event"] == "slice"] == [0, 1, 2]
    assert {"vol.html", "vol.png", "vol.h5", "vol.parts/row-00000.h5"} <= set(files(out))
    with h5py.File(out / "vol.h5") as file:
        group = file[file.attrs["default"]][file["entry"].attrs["default"]]
        for row in range(3):
            part = read_result(out / f"vol.parts/row-{row:05d}.h5")
            assert np.array_equal(group["data"][row], part.image)
            assert np.array_equal(group["data_errors"][row], part.std)


def started(scans: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    words = ["-m", "ctuq", "batch", str(scans), "--out", str(out), "--threads", "1", *SETTINGS, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def wait_for(out: Path, state: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not any(row["state"] == state for row in rows_of(out)):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_the_same_command_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    scans, out, whole = write_scans(tmp_path / "in", 3), tmp_path / "out", tmp_path / "whole"
    with started(scans, out, "--workers", "1") as process:
        wait_for(out, "done", process)
        wait_for(out, "running", process)
        process.send_signal(how)
        said = process.communicate()[0].decode()
    if how != signal.SIGKILL:
        assert process.returncode == 3
        assert "interrupted" in said
        assert leftovers(out) == []
        assert [row["state"] for row in rows_of(out)].count("running") == 0
    assert batch(scans, out, "--workers", "1") == 0
    assert batch(scans, whole, "--workers", "1") == 0
    assert leftovers(out) == []
    assert differences(out, whole) == []
    assert sum(int(str(row["attempts"])) for row in rows_of(out)) == 4


@pytest.mark.slow
def test_a_time_limit_is_a_named_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, out = write_scans(tmp_path / "in", 1), tmp_path / "out"
    options = ["--workers", "1", "--set", "fit.steps=1000000", "--time-limit", "1"]
    assert main(["batch", str(scans), "--out", str(out), *SETTINGS, *options]) == 1
    assert "took longer than the limit of 1 s" in capsys.readouterr().out


@pytest.mark.slow
def test_a_real_dask_cluster_does_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    scans, out, whole = write_scans(tmp_path / "in", 2), tmp_path / "out", tmp_path / "whole"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        assert batch(scans, out, "--dask", cluster.scheduler_address) == 0
    assert batch(scans, whole, "--workers", "1") == 0
    assert differences(out, whole) == []


@pytest.mark.slow
def test_submitit_does_the_same(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    scans, out, whole = write_scans(tmp_path / "in", 2), tmp_path / "out", tmp_path / "whole"
    assert batch(scans, out, "--slurm", "cluster=local", "--workers", "1") == 0
    assert batch(scans, whole, "--workers", "1") == 0
    assert differences(out, whole) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--rows", "5:5"],
        ["--rows", "a:b"],
        ["--shard", "3/2"],
        ["--shard", "0/2"],
        ["--time-limit", "0"],
        ["--dask", "tcp://x", "--slurm", "partition=cpu"],
        ["--slurm", "partition"],
        ["--set", "fit.stepz=1"],
    ],
)
def test_a_wrong_request_is_refused(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    scans = write_scans(tmp_path / "in", 1)
    assert main(["batch", str(scans), "--out", str(tmp_path / "out"), *options]) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
