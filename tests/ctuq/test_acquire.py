"""Planning with an instrument, as a shell script drives it; the reconstruction is a Gaussian model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctuq import scan_model
from ctuq.__main__ import main
from ctuq.acquisition_state import AcquisitionFolder
from ctuq.sinogram_file import write_sinogram_file
from design.candidates import view_id
from tests.ctuq.fake_planning import N_DETECTORS, SMALL, GaussianReconstruct, gaussian_reconstruction, scan_of
from tests.ctuq.scan_layouts import Measurement, write_data_exchange

PILOTS = (0.0, 60.0, 120.0)
PARALLEL = {"type": "parallel", "pitch_mm": 1.0}
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> GaussianReconstruct:
    stand_in = GaussianReconstruct()
    monkeypatch.setattr(scan_model, "reconstruct", stand_in)
    return stand_in


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    write_sinogram_file(tmp_path / "pilot.h5", scan_of(PILOTS))
    return tmp_path / "pilot.h5"


@pytest.fixture
def state(model: GaussianReconstruct, pilot: Path, tmp_path: Path) -> Path:
    assert main(["acquire", "start", str(tmp_path / "run"), str(pilot), "--candidates", "36", *SETTINGS]) == 0
    assert model.n_views == []
    return tmp_path / "run"


def ask(state: Path, *arguments: str) -> list[float]:
    out = state.parent / "next.npy"
    assert main(["acquire", "next", str(state), "--out", str(out), "--force", *arguments]) == 0
    return [round(angle, 4) for angle in np.load(out).tolist()]


def measure(path: Path, angles_deg: list[float]) -> Path:
    np.save(path, np.column_stack([angles_deg, scan_of(angles_deg).sinogram.numpy()]))
    return path


def tell(state: Path, angles_deg: list[float]) -> None:
    assert main(["acquire", "tell", str(state), str(measure(state.parent / "views.npy", angles_deg))]) == 0


def status(state: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["acquire", "status", str(state), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_ask_and_tell_until_there_is_enough(
    state: Path, model: GaussianReconstruct, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ask(state, "-n", "2")
    assert len(set(first) - set(PILOTS)) == 2
    page = (state / "acquisition.html").read_text("utf-8")
    assert all(f"{angle}°" in page for angle in first)
    tell(state, first)
    second = ask(state, "-n", "3")
    assert not set(second) & {*first, *PILOTS}
    assert model.n_views == [3]  # conditioning needs no reconstruction, and the belief was kept
    tell(state, second)
    ask(state)
    assert model.n_views == [3, 8]  # five new views: time to look at the data
    found = status(state, capsys)
    assert found["measured_deg"] == sorted([*PILOTS, *first, *second])
    assert [point["n_views"] for point in found["curve"]] == [3, 5, 8]
    curve = [point["region_std"] for point in found["curve"]]
    assert curve == sorted(curve, reverse=True)
    # The Gaussian model's deviation knows no data, so that promises are kept to the last digit but few.
    assert [point["promised"] for point in found["curve"][1:]] == pytest.approx(curve[1:], rel=1e-5)


def test_turning_is_priced_from_the_last_pilot(model: GaussianReconstruct, pilot: Path, tmp_path: Path) -> None:
    run = tmp_path / "turning"
    words = ["acquire", "start", str(run), str(pilot), "--candidates", "36", *SETTINGS]
    assert main([*words, "--set", "design.turning_cost=1000"]) == 0
    assert ask(run) in ([115.0], [125.0])


def test_what_is_open_is_said_again_until_it_is_told_or_failed(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ask(state, "-n", "2")
    assert ask(state, "-n", "2") == first
    assert "still open" in capsys.readouterr().out
    further = ask(state, "--more")
    assert not set(further) & set(first)
    assert main(["acquire", "tell", str(state), "--failed", str(first[0] + 0.01)]) == 0
    found = status(state, capsys)
    assert found["failed_deg"] == [first[0]]
    assert found["retried_deg"] == []
    assert set(found["open_deg"]) == {first[1], *further}


def test_a_view_that_failed_and_was_then_measured_counts_as_measured(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (angle,) = ask(state)
    assert main(["acquire", "tell", str(state), "--failed", str(angle)]) == 0
    assert ask(state) == [angle]
    now = status(state, capsys)
    assert (now["open_deg"], now["failed_deg"], now["retried_deg"]) == ([angle], [], [angle])
    tell(state, [angle])
    now = status(state, capsys)
    assert angle in now["measured_deg"]
    assert (now["open_deg"], now["failed_deg"], now["retried_deg"]) == ([], [], [angle])
    assert main(["acquire", "status", str(state)]) == 0
    assert f"retried      1  {angle:g}°" in capsys.readouterr().out


class Killed(BaseException):
    """In place of SIGKILL: nothing handles it, though what is in a `finally` runs."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
def test_a_command_killed_at_any_file_that_it_writes_loses_nothing(
    write: int, moment: str, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`next` writes the belief and then the state: before each, and after."""
    twin = state.parent / "twin"
    twin.mkdir()
    for file in state.iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    expected = ask(twin, "-n", "2")
    rename, count = Path.replace, 0

    def killing(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == write and moment == "before":
            raise Killed
        done = rename(self, target)
        if count == write:
            raise Killed
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killing)
        with pytest.raises(Killed):
            main(["acquire", "next", str(state), "-n", "2"])
    assert ask(state, "-n", "2") == expected
    tell(state, expected)
    assert status(state, capsys)["measured_deg"] == sorted([*PILOTS, *expected])


def test_a_told_view_that_nobody_suggested_is_taken_in_and_flagged(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ask(state)
    tell(state, [33.3])
    assert "unplanned    1  33.3°" in capsys.readouterr().out
    assert status(state, capsys)["open_deg"] == asked


def test_a_motor_that_stops_a_little_beside_has_measured_what_was_asked_for(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked,) = ask(state)
    tell(state, [asked - 0.02])
    found = status(state, capsys)
    assert (found["open_deg"], found["unplanned_deg"]) == ([], [])


def _wrong_width(folder: Path) -> Path:
    np.save(folder / "bad.npy", np.ones((1, N_DETECTORS)))
    return folder / "bad.npy"


def _not_finite(folder: Path) -> Path:
    np.save(folder / "bad.npy", np.full((1, N_DETECTORS + 1), np.nan))
    return folder / "bad.npy"


def _other_scan(folder: Path) -> Path:
    write_sinogram_file(folder / "bad.h5", scan_of([20.0], fan=True))
    return folder / "bad.h5"


def _told_twice(folder: Path) -> Path:
    np.save(folder / "bad.npy", np.r_[PILOTS[1], np.ones(N_DETECTORS)][None])
    return folder / "bad.npy"


def _a_result(folder: Path) -> Path:
    return gaussian_reconstruction(scan_of(PILOTS)).save(folder / "result.h5")


def _twice_as_wide(folder: Path) -> Path:
    np.save(folder / "bad.npy", np.r_[15.0, np.ones(2 * N_DETECTORS)][None])
    return folder / "bad.npy"


def _text(folder: Path) -> Path:
    (folder / "bad.csv").write_text("angle,ray\n", encoding="utf-8")
    return folder / "bad.csv"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (_wrong_width, "expected views of 14 line integrals, one a detector pixel, got 13"),
        (_not_finite, "expected finite numbers"),
        (_other_scan, "is it of another scan?"),
        (_told_twice, "told before with other line integrals"),
        (_text, "expected a table of numbers"),
        (lambda folder: folder / "absent.npy", "no such file"),
        (lambda folder: folder, "as .h5, .toml, .npy or .csv"),
        (_a_result, "expected a scan, got a result of ctuq reconstruct"),
        (_twice_as_wide, "one a detector pixel, got 28: try --variances"),
    ],
)
def test_views_that_are_wrong_are_refused_and_change_nothing(
    bad: Any, message: str, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (state / "state.json").read_bytes()
    assert main(["acquire", "tell", str(state), str(bad(tmp_path))]) == 2
    assert message in capsys.readouterr().err
    assert (state / "state.json").read_bytes() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.r_[np.ones(N_DETECTORS), np.zeros(N_DETECTORS)], "variances that are positive and finite, got 0 as the"),
        (np.ones(N_DETECTORS), "and as many variances, got 14: leave --variances out"),
    ],
)
def test_variances_that_are_wrong_are_refused(
    values: Any, message: str, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "bad.npy", np.r_[15.0, values][None])
    assert main(["acquire", "tell", str(state), str(tmp_path / "bad.npy"), "--variances"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tell", "{run}", "{pilot}", "--variances"], "which says its own"),
        (["tell", "{run}", "--failed", "77", "--variances"], "--variances with a table of views, got none"),
        (["next", "{none}"], "expected a folder with an acquisition"),
        (["status", "{none}"], "ctuq acquire start"),
        (["tell", "{run}"], "--failed DEGREES, got neither"),
        (["tell", "{run}", "--failed", "77"], "the angle of an open suggestion (none), got 77"),
        (["next", "{run}", "--out", "{none}.txt"], "to end in .npy, .csv, .json"),
        (["start", "{run}", "{pilot}"], "holds an acquisition"),
        (["start", "{none}", "{pilot}", "--roi", "disc:99,0,1", *SETTINGS], "a pixel inside"),
        (["start", "{none}", "{pilot}", "--candidates", "many"], "a number or a file"),
        (["start", "{none}", "{pilot}", "--candidates", "0"], "at least 1 candidate, got 0"),
        (["tell", "{run}", "--failed", "nan"], "the angle of an open suggestion (none), got nan"),
        (["next", "{run}", "--device", "cuda"], "a CUDA device"),
        (["tell", "{run}", "{run}/views.npy", "--angles", "a"], "such file"),
    ],
)
def test_a_wrong_request_ends_with_2(
    arguments: list[str], message: str, state: Path, pilot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"run": str(state), "none": str(state.parent / "none"), "pilot": str(pilot)}
    assert main(["acquire", *(word.format(**places) for word in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (state.parent / "none").exists()


def test_files_that_are_no_acquisitions_are_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "state.json").write_text("{}", encoding="utf-8")
    assert main(["acquire", "next", str(state)]) == 2
    assert "restore the folder" in capsys.readouterr().err


def test_a_state_of_other_candidates_is_named_and_left_alone(
    state: Path, pilot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = state.parent / "other"
    assert main(["acquire", "start", str(other), str(pilot), "--candidates", "20", *SETTINGS]) == 0
    foreign = (other / "state.json").read_bytes()
    (state / "state.json").write_bytes(foreign)
    for words in (["next"], ["tell"]):
        extra = [str(measure(state.parent / "v.npy", [20.0]))] if words == ["tell"] else []
        assert main(["acquire", *words, str(state), *extra]) == 2
        assert "is it of another scan? Restore the folder" in capsys.readouterr().err
    assert (state / "state.json").read_bytes() == foreign


def test_a_result_is_no_pilot_and_the_message_says_what_to_do_with_it(
    pilot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _a_result(tmp_path)
    assert main(["acquire", "start", str(tmp_path / "none"), str(result)]) == 2
    said = capsys.readouterr().err
    assert "expected a scan, got a result of ctuq reconstruct" in said
    assert "ctuq plan result.h5" in said
    assert not (tmp_path / "none").exists()


VARIANCE = 1e-4 * (1 + torch.arange(len(PILOTS) * N_DETECTORS, dtype=torch.float32).reshape(-1, N_DETECTORS))


@pytest.fixture
def noisy(model: GaussianReconstruct, tmp_path: Path) -> Path:
    write_sinogram_file(tmp_path / "noisy.h5", scan_of(PILOTS, noise_variance=VARIANCE))
    arguments = ["acquire", "start", str(tmp_path / "noisy"), str(tmp_path / "noisy.h5"), "--candidates", "36"]
    assert main([*arguments, *SETTINGS]) == 0
    return tmp_path / "noisy"


def test_noise_of_the_pilots_and_of_told_views_reaches_the_reconstruction(
    noisy: Path, model: GaussianReconstruct
) -> None:
    first = ask(noisy, "-n", "1")
    (scan,) = model.scans
    assert scan.noise_stated
    torch.testing.assert_close(scan.noise_variance, VARIANCE)
    own = np.linspace(1e-3, 2e-3, N_DETECTORS)
    np.save(noisy.parent / "v.npy", np.r_[first, scan_of(first).sinogram[0].numpy(), own][None])
    assert main(["acquire", "tell", str(noisy), str(noisy.parent / "v.npy"), "--variances"]) == 0
    tell(noisy, [5.0, 10.0, 15.0, 20.0])
    ask(noisy)
    given = torch.as_tensor(model.scans[-1].noise_variance)
    angles = np.degrees(model.scans[-1].geometry.angles_rad)
    (told,) = np.flatnonzero(np.isclose(angles, first[0]))
    assert given[told].numpy() == pytest.approx(own)
    silent = given[int(np.flatnonzero(np.isclose(angles, 10.0))[0])]
    precisions = torch.cat([1 / VARIANCE, 1 / torch.tensor(own, dtype=torch.float32)[None]])
    torch.testing.assert_close(silent, 1 / precisions.mean(dim=0))


def test_noise_of_the_candidates_is_that_of_the_pilots_pixel_by_pixel(
    noisy: Path, state: Path, model: GaussianReconstruct
) -> None:
    asked = ask(noisy, "-n", "3")
    with np.load(noisy / "belief.npz") as kept:
        assert kept["noise_variance"] == pytest.approx((1 / (1 / VARIANCE.double()).mean(dim=0))[None].numpy())
    assert ask(noisy, "-n", "3") == asked
    assert ask(noisy, "--more") != ask(state, "-n", "4")
    assert model.n_views == [3, 3]  # the kept belief served the second time
    assert not model.scans[1].noise_stated


def test_told_files_of_any_layout_whose_parts_are_named(state: Path, tmp_path: Path) -> None:
    (asked,) = ask(state)
    write_sinogram_file(tmp_path / "told.h5", scan_of([asked + 3]))
    np.savetxt(tmp_path / "true.txt", [asked])
    words = ["acquire", "tell", str(state), str(tmp_path / "told.h5")]
    assert main([*words, "--angles", str(tmp_path / "true.txt")]) == 0
    planner = AcquisitionFolder(state).read()[1].planner
    assert planner.open == ()
    assert len(planner.measured) == len(PILOTS) + 1


@pytest.mark.parametrize("centre", ["6.25", "find"])
def test_scans_are_told_after_the_axis_was_settled(centre: str, model: GaussianReconstruct, tmp_path: Path) -> None:
    run, pilot, angles = tmp_path / "centred", tmp_path / "pilot.h5", np.arange(0.0, 180.0, 15.0)
    write_sinogram_file(pilot, scan_of(angles))
    words = ["acquire", "start", str(run), str(pilot), *SETTINGS, "--set", f"preprocessing.centre={centre}"]
    assert main(words) == 0
    write_sinogram_file(tmp_path / "told.h5", scan_of([33.0]))
    assert main(["acquire", "tell", str(run), str(tmp_path / "told.h5")]) == 0
    settings, state = AcquisitionFolder(run).read()
    assert len(state.planner.measured) == len(angles) + 1
    assert settings.stated.cor_index is None
    if centre != "find":
        assert settings.instrument.cor_index == float(centre)


def test_a_told_file_of_one_row_has_that_one(model: GaussianReconstruct, tmp_path: Path) -> None:
    sinogram = scan_of(PILOTS).sinogram.numpy()
    rows = np.stack([sinogram, 2 * sinogram, 3 * sinogram], axis=1)
    pilots = write_data_exchange(tmp_path / "pilots.h5", Measurement(rows, np.array(PILOTS), geometry=PARALLEL))
    run = tmp_path / "rows"
    words = ["acquire", "start", str(run), str(pilots), "--candidates", "36", *SETTINGS, "--set", "scan.row=2"]
    assert main(words) == 0
    told = scan_of([35.0, 40.0]).sinogram.numpy()
    one = Measurement(told[:1, None], np.array([35.0]), geometry=PARALLEL)
    all_rows = Measurement(np.stack([told[1:], told[1:], 7 + told[1:]], axis=1), np.array([40.0]), geometry=PARALLEL)
    for name, views in (("one.h5", one), ("all.h5", all_rows)):
        assert main(["acquire", "tell", str(run), str(write_data_exchange(tmp_path / name, views))]) == 0
    measured = {view.id: view.projection for view in AcquisitionFolder(run).read()[1].planner.measured}
    assert measured[view_id(np.radians(0.0))] == pytest.approx(3 * sinogram[0])
    assert measured[view_id(np.radians(35.0))] == pytest.approx(told[0])
    assert measured[view_id(np.radians(40.0))] == pytest.approx(7 + told[1])


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("design.target_std=1", "is at its target of 1"), ("design.min_score=1e9", "below 1e+09")],
)
def test_targets_and_gains_stop_it_with_a_reason(
    limit: str,
    reason: str,
    model: GaussianReconstruct,
    pilot: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tmp_path / "limited")
    assert main(["acquire", "start", run, str(pilot), *SETTINGS, "--set", limit]) == 0
    assert ask(Path(run)) == []
    assert reason in capsys.readouterr().out


def test_phases_are_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["acquire", "next", str(state), "-n", "2", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "step"]
    assert list(dict.fromkeys(stages)) == ["fit", "covariance", "choose"]


def test_limits_stop_it_with_a_reason(
    model: GaussianReconstruct, pilot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "limited"
    limits = ["--set", "design.max_views=5"]
    assert main(["acquire", "start", str(run), str(pilot), "--candidates", "36", *SETTINGS, *limits]) == 0
    asked = ask(run, "-n", "9")
    assert len(asked) == 2
    tell(run, asked)
    assert ask(run) == []
    assert "stop: 5 views are the 5 allowed" in capsys.readouterr().out
    assert status(run, capsys)["stopped"] == "5 views are the 5 allowed"
    assert AcquisitionFolder(run).read()[1].enough


def test_where_no_candidate_is_left_it_is_not_enough(model: GaussianReconstruct, pilot: Path, tmp_path: Path) -> None:
    run = tmp_path / "narrow"
    forbidden = ["--set", "design.forbidden_deg=[[1,59],[61,119],[121,179]]"]
    assert main(["acquire", "start", str(run), str(pilot), "--candidates", "36", *SETTINGS, *forbidden]) == 0
    assert ask(run) == []
    state = AcquisitionFolder(run).read()[1]
    assert "no candidate of 36 is left" in str(state.stopped)
    assert not state.enough


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_angles_are_written_as_asked(suffix: str, state: Path) -> None:
    out = state.parent / f"angles{suffix}"
    assert main(["acquire", "next", str(state), "--out", str(out)]) == 0
    (suggestion,) = AcquisitionFolder(state).read()[1].planner.open
    text = out.read_text("utf-8")
    angle = json.loads(text)[0]["angle_deg"] if suffix == ".json" else float(text.splitlines()[1].split(",")[0])
    assert angle == pytest.approx(float(np.degrees(suggestion.angle_rad)))


def test_a_fan_beam_keeps_its_geometry(model: GaussianReconstruct, tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "fan.h5", scan_of(PILOTS, fan=True))
    run = tmp_path / "fan"
    assert main(["acquire", "start", str(run), str(tmp_path / "fan.h5"), "--candidates", "20", *SETTINGS]) == 0
    settings, state = AcquisitionFolder(run).read()
    assert settings.instrument == scan_of([18.0 * n for n in range(20)], fan=True).planar.with_grid(
        settings.instrument.grid
    )
    assert torch.tensor(state.planner.measured[1].projection) == pytest.approx(
        scan_of(PILOTS, fan=True).sinogram[1].numpy()
    )


def test_a_pilot_of_any_layout_whose_parts_are_named(model: GaussianReconstruct, pilot: Path, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "true.txt", angles := [10.0 + 30 * i for i in range(len(PILOTS))])
    words = ["acquire", "start", str(tmp_path / "named"), str(pilot), "--angles", str(tmp_path / "true.txt"), *SETTINGS]
    assert main(words) == 0
    views = AcquisitionFolder(tmp_path / "named").read()[1].planner.measured
    assert sorted(np.degrees([view.angle_rad for view in views])) == pytest.approx(angles)
