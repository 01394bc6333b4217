"""Replays: what is compared, what is written, and that finished points survive an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctuq import replay
from ctuq.__main__ import main
from ctuq.likeness import psnr, ssim
from ctuq.sinogram_file import write_sinogram_file
from tests.ctuq.fake_planning import SIZE, SMALL, GaussianReconstruct, scan_of

SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> GaussianReconstruct:
    stand_in = GaussianReconstruct()
    monkeypatch.setattr(replay, "reconstruct", stand_in)
    return stand_in


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    write_sinogram_file(tmp_path / "all.h5", scan_of(np.arange(0, 180, 5.0)))
    arguments = ["replay", str(tmp_path / "all.h5"), "--out", str(tmp_path / "r.h5"), "--start", "3", "-n", "5"]
    return [*arguments, "--every", "3", "--random-seeds", "2", *SETTINGS]


def test_curves_of_every_strategy_are_written(
    model: GaussianReconstruct, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    names = ["planned", "equidistant", "golden", "random-1", "random-2"]
    said = capsys.readouterr().out
    with h5py.File(tmp_path / "r.h5") as file:
        assert set(file["entry/replay"]) == set(names)
        for name in names:
            group = file["entry/replay"][name]
            assert name in said
            assert group["n_angles"][()].tolist() == [3, 6, 8]
            assert len(set(group["angle_deg"][()].tolist())) == 8
            for measure in ("psnr", "ssim", "chi_square", "mean_std", "rms_std"):
                assert np.isfinite(group[measure][()]).all()
            assert (np.diff(group["rms_std"][()]) < 0).all()
        planned, equidistant = file["entry/replay/planned"], file["entry/replay/equidistant"]
        assert planned["angle_deg"][:3].tolist() == equidistant["angle_deg"][:3].tolist()
        # The Gaussian model's deviation knows no data.
        np.testing.assert_allclose(planned["promised_std"][1:], planned["rms_std"][1:], rtol=1e-4)
        assert np.isnan(planned["promised_std"][0])
        assert planned["rms_std"][-1] < equidistant["rms_std"][-1]
    page = (tmp_path / "r.html").read_text("utf-8")
    assert all(f">{name}<" in page for name in names)
    assert f"ctuq replay all.h5 --out r-again.h5 {' '.join(SETTINGS)} --start 3 -n 5 --every 3 --random-seeds 2" in page


def test_after_an_interruption_the_same_command_goes_on(
    model: GaussianReconstruct, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.fails_at = 4
    assert main(command) == 3
    assert f"whole on disk: {tmp_path / 'r.points'}" in capsys.readouterr().err
    assert not (tmp_path / "r.h5").exists()
    model.fails_at = None
    assert main(command) == 0
    # Three were finished; of five strategies with three points two start from the same views.
    assert len(model.n_views) == 4 + 14 - 3
    assert main([*command, "--force"]) == 0
    assert len(model.n_views) == 4 + 14 - 3
    assert main([*command, "--force", "--seed", "1", "--against", "golden"]) == 0
    assert len(model.n_views) == 4 + 14 - 3 + 6  # another seed is another point


def test_views_that_two_orders_share_are_reconstructed_once(model: GaussianReconstruct, command: list[str]) -> None:
    assert main([*command, "--against", "equidistant"]) == 0
    assert model.n_views == [3, 6, 8, 6, 8]


def test_limits_and_draws_do_not_end_a_comparison(
    model: GaussianReconstruct, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("design.max_views=4", "design.min_score=1e9", "design.exact_pixels=100", "design.n_draws=2")
    words = [word for setting in settings for word in ("--set", setting)]
    assert main([*command, "--against", "golden", "--json", *words]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [point["n_angles"] for point in events[-1]["curves"]["planned"]] == [3, 6, 8]
    stages = [event["stage"] for event in events if event["event"] == "step"]
    assert list(dict.fromkeys(stages)) == ["planned", "fit", "covariance", "score", "choose", "golden"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "40"], "a scan of at least 43 views"),
        (["--against", "golden,best"], "got best"),
        (["--set", "design.forbidden_deg=[[9, 1]]"], "runs forwards"),
        (["--set", "design.forbidden_deg=[[1, 179]]"], "candidates to choose from, got 0 of"),
        (["--start", "0"], "Invalid value for"),
        (["--random-seeds", "-1"], "Invalid value for"),
        (["--reference", "{wrong}"], "a reference image of (12, 12) pixels"),
        (["--reference", "absent.npy"], "expected an image in 1/mm"),
        (["--device", "cuda"], "a CUDA device"),
        (["--out", "{scan}", "--force"], "differ from what they are made from"),
    ],
)
def test_a_wrong_request_ends_with_2_before_any_work(
    arguments: list[str],
    message: str,
    model: GaussianReconstruct,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "wrong.npy", np.ones((3, 3)))
    places = {"wrong": tmp_path / "wrong.npy", "scan": tmp_path / "all.h5"}
    assert main([*command, *(word.format(**places) for word in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert model.n_views == []


def test_a_reference_decides_the_scores(model: GaussianReconstruct, command: list[str], tmp_path: Path) -> None:
    few = [*command, "--against", "golden"]
    assert main(few) == 0
    with h5py.File(tmp_path / "r.h5") as file:
        before = file["entry/replay/golden/psnr"][()]
    np.save(tmp_path / "reference.npy", np.eye(SIZE))
    assert main([*few, "--force", "--reference", str(tmp_path / "reference.npy")]) == 0
    with h5py.File(tmp_path / "r.h5") as file:
        assert (file["entry/replay/golden/psnr"][()] != before).all()


def test_likeness_of_images() -> None:
    truth = torch.linspace(0, 2, 100).reshape(10, 10)
    assert psnr(truth + 0.02, truth) == pytest.approx(40, abs=1e-4)
    assert psnr(truth, truth) == float("inf")
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(truth.flip(0), truth) < 0.5
