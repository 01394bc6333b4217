"""The result file: its layout, its bytes, and that it is whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from silx.io.nxdata.parse import get_default

from ctuq import result_file
from ctuq.errors import CtuqError, InputError
from ctuq.nexus import Field, Group, verify_tree, write_tree
from ctuq.processing_step import ProcessingStep
from ctuq.result_file import read_result
from tests.ctuq.fake_planning import gaussian_reconstruction, scan_of
from tests.ctuq.fake_results import START, fake_provenance, fake_reconstruction


def test_a_viewer_opens_on_the_picture_with_its_errors(tmp_path: Path) -> None:
    made = fake_reconstruction()
    with h5py.File(made.save(tmp_path / "r.h5"), "r") as file:
        shown = get_default(file, validate=True)
        assert shown is not None
        assert shown.is_valid
        assert shown.signal is not None
        assert shown.errors is not None
        assert shown.interpretation == "image"
        np.testing.assert_array_equal(shown.signal[0], made.image)
        np.testing.assert_array_equal(shown.errors[0], made.std)
        assert shown.axes_names == ["z (mm)", "y (mm)", "x (mm)"]
        for name in ("uncertainty", "calibration", "reconstruction/fit"):
            part = get_default(file[f"entry/{name}"], validate=True)
            assert part is not None
            assert part.is_valid


def test_layout_units_and_axes_are_the_documented_ones(tmp_path: Path) -> None:
    made = fake_reconstruction(shape=(24, 32), pixel_mm=0.6)
    with h5py.File(made.save(tmp_path / "r.h5"), "r") as file:
        assert file.attrs["NX_class"] == "NXroot"
        assert file.attrs["default"] == "entry"
        entry = file["entry"]
        assert entry["definition"].asstr()[()] == "NXtomoproc"
        data = entry["data/data"]
        assert (data.shape, data.dtype, data.chunks) == ((1, 24, 32), np.float32, (1, 24, 32))
        assert (data.compression, data.shuffle, data.attrs["units"]) == ("gzip", True, "1/mm")
        assert entry["uncertainty/std"] == entry["data/data_errors"]
        assert entry["data"].attrs["auxiliary_signals"].tolist() == ["data_errors"]
        x, y = entry["data/x"][()], entry["data/y"][()]
        np.testing.assert_allclose(x, (np.arange(32) - 15.5) * 0.6)
        np.testing.assert_allclose(y, (11.5 - np.arange(24)) * 0.6)
        assert entry["data/z"][()].tolist() == [0.0]
        assert {entry[f"data/{axis}"].attrs["units"] for axis in "zyx"} == {"mm"}
        assert entry["samples/samples"].shape == (4, 1, 24, 32)
        assert entry["calibration"].attrs["n_rays"] == 1260
        assert entry["reconstruction/configuration"].attrs["NX_class"] == "NXnote"
        assert entry["reconstruction/configuration/type"].asstr()[()] == "application/json"
        assert "plan" not in entry


def test_what_was_written_reads_back_whole(tmp_path: Path) -> None:
    steps = (ProcessingStep("dead columns", "masked 2", {"columns": (3, 4)}), ProcessingStep("axis", "μ", {"at": 2.5}))
    provenance = replace(fake_provenance(notes=("μ is low", "two"), scan_name="Loß <&> $x"), steps=steps)
    made = fake_reconstruction(provenance=provenance)
    found = read_result(made.save(tmp_path / "r.h5"))
    assert found.posterior is None
    assert found.provenance == made.provenance
    assert list(found.provenance.stage_seconds) == list(made.provenance.stage_seconds)
    assert dict(found.diagnostics) == dict(made.diagnostics)
    assert (found.grid, found.noise_variance) == (made.grid, made.noise_variance)
    for name in ("image", "std", "standard_error", "samples", "fit_steps", "fit_loss", "holdout_loss"):
        assert torch.equal(getattr(found, name), getattr(made, name)), name
    for name in ("z", "nominal", "observed"):
        assert torch.equal(getattr(found.calibration, name), getattr(made.calibration, name)), name
    assert found.calibration.angles_rad == pytest.approx(made.calibration.angles_rad, abs=1e-14)
    for name in (
        "chi_square",
        "coverage_95",
        "n_rays",
        "n_angles",
        "temperature",
        "chi_square_error",
        "coverage_error",
    ):
        assert getattr(found.calibration, name) == getattr(made.calibration, name), name


@pytest.mark.parametrize("fan", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
def test_rays_read_back_with_geometry_noise_and_line_integrals(fan: bool, smooth: bool, tmp_path: Path) -> None:
    made = gaussian_reconstruction(scan_of((0, 33.3, 120), fan=fan), smooth=smooth)
    found = read_result(made.save(tmp_path / "r.h5"))
    assert made.rays is not None
    assert found.rays is not None
    ours, theirs = made.rays.geometry, found.rays.geometry
    assert theirs.angles_rad == pytest.approx(ours.angles_rad, abs=1e-13)
    assert replace(theirs, angles_rad=ours.angles_rad) == ours
    assert torch.equal(torch.as_tensor(found.rays.noise.variance), torch.as_tensor(made.rays.noise.variance))
    assert found.rays.sinogram is not None
    assert made.rays.sinogram is not None
    assert torch.equal(found.rays.sinogram, made.rays.sinogram)
    shared = made.rays.noise.view_covariance
    if shared is None:
        assert found.rays.noise.view_covariance is None
    else:
        assert found.rays.noise.view_covariance is not None
        assert torch.equal(found.rays.noise.view_covariance, shared)


def test_a_file_of_an_older_version_has_no_rays(tmp_path: Path) -> None:
    assert read_result(fake_reconstruction().save(tmp_path / "r.h5")).rays is None


def test_the_same_reconstruction_gives_the_same_bytes(tmp_path: Path) -> None:
    first = fake_reconstruction().save(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 counts seconds, if it is let
    assert fake_reconstruction().save(tmp_path / "b.h5").read_bytes() == first


def test_another_time_changes_only_the_dates(tmp_path: Path) -> None:
    early, late = fake_provenance(), fake_provenance(start=START + timedelta(days=400, microseconds=5))
    content = fake_reconstruction(provenance=early).save(tmp_path / "a.h5").read_bytes()
    for old, new in ((early.start_time, late.start_time), (early.end_time, late.end_time)):
        before, after = (moment.isoformat(timespec="microseconds").encode() for moment in (old, new))
        assert before in content
        content = content.replace(before, after)
    assert fake_reconstruction(provenance=late).save(tmp_path / "b.h5").read_bytes() == content


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"exists.*--force"):
        fake_reconstruction().save(path)
    assert path.read_text() == "precious"
    fake_reconstruction().save(path, force=True)
    assert read_result(str(path)).grid.shape == (24, 32)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing does not exist"):
        fake_reconstruction().save(tmp_path / "missing" / "r.h5")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        fake_reconstruction().save(tmp_path, force=True)


def test_a_folder_that_refuses_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)  # root, who runs tests in containers, may write anywhere
    with pytest.raises(InputError, match="Permission denied"):
        fake_reconstruction().save(tmp_path / "r.h5")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="read-only"):
            fake_reconstruction().save(tmp_path / "r.h5")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError("No space left on device"), CtuqError("differs")])
@pytest.mark.parametrize("where", ["write_tree", "verify_tree"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, failure: BaseException
) -> None:
    path = tmp_path / "r.h5"
    path.write_text("old")
    whole = getattr(result_file, where)

    def fail(tree: Group, part: Path) -> None:
        whole(tree, part)
        raise failure

    monkeypatch.setattr(result_file, where, fail)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  each of the three kinds
        fake_reconstruction().save(path, force=True)
    assert caught.value is failure
    assert [file.name for file in tmp_path.iterdir()] == ["r.h5"]
    assert path.read_text() == "old"


def test_a_value_that_does_not_read_back_is_noticed(tmp_path: Path) -> None:
    values = np.array([1.0, np.nan])
    tree = Group("NXroot", {"a": Group("NXcollection", {"x": Field(values), "t": Field("text")})})
    path = tmp_path / "t.h5"
    write_tree(tree, path)
    verify_tree(tree, path)
    with h5py.File(path, "r+") as file:
        file["a/x"][0] = 2.0
    with pytest.raises(CtuqError, match="/a/x read back"):
        verify_tree(tree, path)


def test_the_kill_of_a_batch_system_leaves_no_half_file(tmp_path: Path) -> None:
    # In a process of its own, as the signal would end this one.
    program = (
        "import os, signal, sys, ctuq.commands as c, ctuq.jobs as j, ctuq.__main__ as m, ctuq.result_file as r\n"
        "from pathlib import Path\n"
        "from tests.ctuq.fake_results import fake_reconstruction\n"
        "r.verify_tree = lambda tree, part: os.kill(os.getpid(), signal.SIGTERM)\n"
        "c.read_result = lambda path: fake_reconstruction().save(path)\n"
        "sys.exit(m.main(['report', sys.argv[1], '--out', sys.argv[2]]))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "r.h5"), str(tmp_path / "r.html")]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == 3, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_results_are_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["entry/data/data"] = np.zeros((1, 2, 2))
    cut = tmp_path / "cut.h5"
    cut.write_bytes(fake_reconstruction().save(tmp_path / "r.h5").read_bytes()[:9000])
    for path in (tmp_path / "absent.h5", text, other, cut):
        with pytest.raises(InputError, match=path.name):
            read_result(path)


def test_parts_of_different_sizes_make_no_reconstruction() -> None:
    made = fake_reconstruction()
    with pytest.raises(ValueError, match="std must be"):
        replace(made, std=made.std[1:])
    with pytest.raises(ValueError, match="samples must be"):
        replace(made, samples=made.samples[0])
    with pytest.raises(ValueError, match="one length"):
        replace(made, fit_loss=made.fit_loss[1:])
