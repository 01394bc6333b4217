"""Rows that start from the row before: what they may have seen, what they say of it, and where there is no such row."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from ctuq import problem as problem_module
from ctuq.__main__ import main
from ctuq.check import check_scan
from ctuq.config import Config, load_config
from ctuq.errors import CtuqError, InputError
from ctuq.initial_weights import deciding_settings, read_initial_weights
from ctuq.problem import fitted_image
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.result_file import read_result
from ctuq.scan import Scan
from ctuq.scan_file import read_scan
from ctuq.summary import summary_lines
from dip import Fit, Holdout, UNet, fit
from tests.ctuq.cone_scan import ball_scan

ROWS, VIEWS, DETECTORS = 3, 30, 18
QUICK = (
    "grid.size=16",
    "network.channels=[4, 4]",
    "network.skip_channels=[2]",
    "fit.steps=13",
    "fit.refit_steps=3",
    "fit.bfloat16=false",
    "evidence.max_evaluations=3",
)
NEIGHBOUR = "fit.init=neighbour"
ONE_CHOICE = ("fit.tv_weights=[0.001]", "fit.checkpoints=1")  # nothing to choose


def config(*overrides: str) -> Config:
    return load_config(overrides=[*QUICK, *overrides])


def written(path: Path, *, n_views: int = VIEWS) -> Path:
    """Line integrals of a disc that grows from row to row, with noise."""
    at = np.arange(DETECTORS) - (DETECTORS - 1) / 2
    radius = 5 + 0.3 * np.arange(ROWS)[:, None]
    chords = 2 * np.sqrt(np.maximum(radius**2 - (at - 1) ** 2, 0))
    noise = 0.3 * np.random.default_rng(1).standard_normal((n_views, ROWS, DETECTORS))
    with h5py.File(path, "w") as file:
        file["exchange/data"] = (chords + noise).astype(np.float32)
        file["exchange/data"].attrs["units"] = "line_integral"
        file["exchange/data"].attrs["axes"] = "theta:y:x"
        file["exchange/theta"] = np.linspace(0, 180, n_views, endpoint=False)
        file["exchange/theta"].attrs["units"] = "deg"
        group = file.create_group("measurement/instrument/ctuq_geometry")
        group.attrs["type"], group.attrs["pitch_mm"] = "parallel", 1.0
    return path


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return written(tmp_path / "stack.h5")


def reconstruct_rows(stack: Path, out: Path, *overrides: str, rows: str = "0:3", code: int = 0) -> list[Path]:
    """Parts by row."""
    sets = [f"--set={one}" for one in (*QUICK, NEIGHBOUR, *overrides)]
    words = ["reconstruct", str(stack), "--out", str(out), "--rows", rows, "--no-report", "--device", "cpu", *sets]
    assert main(words) == code
    return [out.with_name(f"{out.stem}.parts") / f"row-{row:05d}.h5" for row in range(ROWS)]


@dataclass(frozen=True)
class Begun:
    """How a fit began."""

    weights: tuple[dict[str, Tensor], ...]
    holdout: Holdout
    steps: int
    first_choice: int

    @property
    def held_out(self) -> Tensor:
        return self.holdout.chooses.any(dim=0) | self.holdout.judges


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """Every fit from now on."""
    found: list[Begun] = []

    def spied(members: Sequence[UNet], *args: Any, **more: Any) -> Fit:
        weights = tuple({name: value.clone() for name, value in one.state_dict().items()} for one in members)
        settings = more["settings"]
        found.append(Begun(weights, more["holdout"], settings.steps, settings.first_choice))
        return fit(members, *args, **more)

    monkeypatch.setattr(problem_module, "fit", spied)
    return found


def equal(one: Begun, other: Begun) -> bool:
    return all(torch.equal(one.weights[0][name], other.weights[0][name]) for name in one.weights[0])


def spoil(stack: Path, rays: Tensor, row: int) -> None:
    with h5py.File(stack, "r+") as file:
        data = file["exchange/data"][()]
        data[:, row][rays.numpy()] += 5
        file["exchange/data"][...] = data


@pytest.mark.parametrize("n_views", [VIEWS, 20])  # whole views are held out, or single rays
@pytest.mark.parametrize(("which", "choices"), [("judges", ()), ("chooses", ONE_CHOICE)])
def test_a_row_starts_from_weights_that_saw_nothing_of_the_views_held_out_of_it(
    which: str, choices: tuple[str, ...], n_views: int, begun: list[Begun], tmp_path: Path
) -> None:
    stack = written(tmp_path / "stack.h5", n_views=n_views)
    reconstruct_rows(stack, tmp_path / "one.h5", *choices, rows="0:2")
    held = begun[1].holdout
    spoil(stack, held.judges if which == "judges" else held.chooses[0], row=0)
    reconstruct_rows(stack, tmp_path / "other.h5", *choices, rows="0:2")
    assert equal(begun[1], begun[3])
    # The weights are the row's before, and not some that nothing would change.
    spoil(stack, held.fitted[0], row=0)
    reconstruct_rows(stack, tmp_path / "third.h5", *choices, rows="0:2")
    assert not equal(begun[1], begun[5])


def test_all_rows_hold_out_the_views_of_the_first_which_is_as_one_by_itself(
    stack: Path, begun: list[Begun], tmp_path: Path
) -> None:
    parts = reconstruct_rows(stack, tmp_path / "r.h5")
    alone = reconstruct(read_scan(stack, row=0), config())
    first, *others, single = begun
    for other in (*others, single):
        assert torch.equal(other.holdout.judges, first.holdout.judges)
        assert torch.equal(other.holdout.chooses, first.holdout.chooses)
    assert [one.steps for one in begun] == [13, 5, 5, 13]
    assert [one.first_choice for one in begun] == [0, 3, 3, 0]
    found = read_result(parts[0])
    assert torch.equal(found.image, alone.image)
    assert torch.equal(found.std, alone.std)
    assert int(read_result(parts[1]).fit_steps[-1]) == 5


def test_a_masked_view_moves_no_held_out_view_of_the_next_row(stack: Path, begun: list[Begun]) -> None:
    first = reconstruct(read_scan(stack, row=0), config())
    rays = torch.zeros(VIEWS, DETECTORS, dtype=torch.bool)
    view = int(torch.nonzero(~begun[0].held_out.any(dim=1))[0, 0])
    rays[view], rays[:, 3] = True, True
    reconstruct(read_scan(stack, row=1).with_masked(rays), config(NEIGHBOUR), neighbour=first.neighbour)
    assert torch.equal(begun[1].held_out, begun[0].held_out & ~rays)
    assert begun[1].holdout.whole_views


def test_a_row_says_what_it_started_from(stack: Path, tmp_path: Path) -> None:
    first, second, third = (read_result(part) for part in reconstruct_rows(stack, tmp_path / "r.h5"))
    assert first.provenance.initial_weights is None
    assert first.provenance.config["fit"]["init"] == "random"  # type: ignore[index]
    assert second.provenance.config["fit"]["init"] == "neighbour"  # type: ignore[index]
    for row, before in ((second, first), (third, second)):
        start = row.provenance.initial_weights
        assert start is not None
        assert start["record"] == {
            "trained_on": "a neighbouring row",
            "scan": before.provenance.scan_name,
            "rays_sha256": before.provenance.input_sha256,
            "holdout_of": "stack row 0",
        }
        assert f"weights of {before.provenance.scan_name} (sha256 {start['sha256'][:12]}" in "\n".join(
            summary_lines(row)
        )
    assert second.provenance.initial_weights != third.provenance.initial_weights


def test_the_command_of_a_row_repeats_those_before_it(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = reconstruct_rows(stack, tmp_path / "r.h5", rows="1:3")
    found = read_result(parts[2])
    words = shlex.split(found.provenance.command)
    assert words[words.index("--rows") + 1] == "1:3"
    assert "--row" not in words
    first = shlex.split(read_result(parts[1]).provenance.command)
    assert first[first.index("--rows") + 1] == "1:2"
    monkeypatch.chdir(tmp_path)
    assert main([*words[1:], "--no-report"]) == 0
    again = read_result(tmp_path / "stack-again.parts" / "row-00002.h5")
    assert torch.equal(again.image, found.image)
    assert again.provenance.initial_weights == found.provenance.initial_weights


def test_what_decides_a_row_is_told_by_the_content_of_its_start(stack: Path, tmp_path: Path) -> None:
    one, other = (reconstruct(read_scan(stack, row=row), config()).neighbour for row in (0, 1))
    assert one is not None
    assert other is not None
    keys = [deciding_settings(config(NEIGHBOUR), each.weights)["fit"]["init"] for each in (one, other)]
    assert keys == [one.weights.sha256, other.weights.sha256]
    assert keys[0] != keys[1]
    assert read_initial_weights(one.weights.save(tmp_path / "w.safetensors")).sha256 == keys[0]


@pytest.mark.parametrize(("failing", "starts"), [(1, (None, "stack row 0")), (0, (None, "stack row 1"))])
def test_after_a_row_that_fails_the_last_one_that_did_not_is_started_from(
    failing: int, starts: tuple[str | None, ...], stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(scan: Scan, *args: Any, **more: Any) -> Reconstruction:
        if scan.name.endswith(str(failing)):
            raise CtuqError("nothing there")
        return reconstruct(scan, *args, **more)

    monkeypatch.setattr("ctuq.jobs.reconstruct", sometimes)
    parts = reconstruct_rows(stack, tmp_path / "r.h5", code=1)
    left = [read_result(part).provenance.initial_weights for row, part in enumerate(parts) if row != failing]
    assert tuple(start and start["record"]["scan"] for start in left) == starts


@pytest.mark.parametrize(
    "words",
    [
        ("reconstruct", "{stack}", "--out", "{out}"),
        ("batch", "{stack}", "--out", "{folder}"),
        ("plan", "{stack}", "-n", "1", "--out", "{out}"),
        ("acquire", "start", "{folder}", "{stack}"),
        ("replay", "{stack}", "--start", "5", "-n", "2", "--out", "{out}"),
        ("pretrain", "{stack}", "--out", "{folder}.safetensors"),
    ],
    ids=lambda words: words[0],
)
def test_where_there_is_no_neighbour_none_can_be_started_from(
    words: tuple[str, ...], stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"stack": stack, "out": tmp_path / "r.h5", "folder": tmp_path / "results"}
    sets = [f"--set={one}" for one in (*QUICK, NEIGHBOUR)]
    assert main([*(word.format(**places) for word in words), *sets]) == 2
    said = capsys.readouterr().err
    assert "where no row was reconstructed before, got" in " ".join(said.split())
    assert not (tmp_path / "r.h5").exists()


def test_from_python_a_neighbour_is_handed_in_or_refused(stack: Path) -> None:
    scan, after = read_scan(stack, row=0), read_scan(stack, row=1)
    first = reconstruct(scan, config())
    for call in (reconstruct, fitted_image):
        with pytest.raises(InputError, match=r"no row was reconstructed before, got neighbour: .*--rows A:B"):
            call(after, config(NEIGHBOUR))
    with pytest.raises(InputError, match=r"expected fit\.init=neighbour with a neighbour .* got random"):
        reconstruct(after, config(), neighbour=first.neighbour)
    with pytest.raises(InputError, match=r"expected the neighbour's 30 views, got 15"):
        reconstruct(after, config(NEIGHBOUR, "scan.angle_step=2"), neighbour=first.neighbour)
    with pytest.raises(InputError, match=r"channels=\[4, 6\].*fit.init"):
        reconstruct(after, config(NEIGHBOUR, "network.channels=[4, 6]"), neighbour=first.neighbour)
    masked = after.with_masked(first.neighbour.holdout.judges)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"at least 2 of the held-out views.*stack row 0: choose fit.init=random"):
        reconstruct(masked, config(NEIGHBOUR), neighbour=first.neighbour)
    assert first.neighbour is not None
    with pytest.raises(InputError, match=r"expected fit\.members=1, as the neighbour has, got 2"):
        first.neighbour.holdout_of(after, 2)


def test_a_volume_has_no_neighbour(stack: Path) -> None:
    with pytest.raises(InputError, match="for a volume, got neighbour"):
        reconstruct(ball_scan(), config(NEIGHBOUR, "grid.slices=4"))


def test_check_says_that_it_takes_several_rows(stack: Path, tmp_path: Path) -> None:
    found = check_scan(stack, overrides=[*QUICK, NEIGHBOUR])
    assert "--rows A:B" in found.facts["start"]
    assert not found.problems
    assert "start" not in check_scan(stack, overrides=QUICK).facts
    with h5py.File(stack, "r+") as file:
        data = file["exchange/data"][:, :1]
        del file["exchange/data"]
        file["exchange/data"] = data
        file["exchange/data"].attrs["units"] = "line_integral"
        file["exchange/data"].attrs["axes"] = "theta:y:x"
    assert "no row was reconstructed before" in "".join(check_scan(stack, overrides=[*QUICK, NEIGHBOUR]).problems)


def test_neighbour_is_no_file_that_another_folder_would_lack() -> None:
    assert config(NEIGHBOUR).for_any_folder() == config(NEIGHBOUR)


def test_a_neighbours_weights_take_a_third_of_the_steps_and_the_last_half_of_them_chooses() -> None:
    random, warm = config().fit, config(NEIGHBOUR).fit
    assert (random.taken_steps, random.first_choice) == (13, 0)
    assert warm.taken_steps == 5
    assert replace(warm, steps=warm.taken_steps).first_choice == 3
