from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch

from ctuq.batch_database import open_database
from ctuq.batch_job import Slice, SliceResult
from ctuq.batch_manifest import Manifest
from ctuq.batch_page import scan_lines, write_batch_page
from ctuq.batch_work import thumbnail
from ctuq.errors import CtuqError
from ctuq.volume_file import VolumeRow, write_volume
from tests.ctuq.fake_batch import write_image
from tests.ctuq.fake_results import fake_reconstruction


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A volume with a row of each kind, and a scan with a name that is no HTML."""
    made = Manifest(tmp_path, open_database(tmp_path))
    common: dict[str, Any] = {"source": tmp_path, "entry": "", "pitch_mm": 1, "key": "k"}
    rows = [Slice(scan="vol", row=n, n_rows=4, shown=n == 2, **common) for n in range(4)]
    odd = Slice(scan="<b>#1", row=0, n_rows=1, shown=True, **common)
    with made.exclusive():
        for one in (*rows, odd):
            made.put(one, "pending")
    made.want([(one,) for one in (*rows[:3], odd)])
    for one in (*rows[:3], odd):
        assert made.claim("me", lambda _: True) == (one,)
    figures = [(0.001, 1.0, True), (0.003, 3.0, False)]
    for row, (std, chi, calibrated) in enumerate(figures):
        found = SliceResult(row=row, seconds=2, median_std=std, chi_square=chi, calibrated=calibrated, thumbnail=b"PNG")
        made.settle("me", "vol", [found])
    made.settle("me", "vol", [SliceResult(row=2, reason="<script>alert(1)</script>")])
    made.settle(
        "me", "<b>#1", [SliceResult(row=0, seconds=1, median_std=math.nan, chi_square=math.nan, calibrated=False)]
    )
    return made


def test_a_line_sums_up_a_scan(manifest: Manifest) -> None:
    odd, volume = scan_lines(manifest)
    assert (volume.name, volume.state, volume.progress) == ("vol", "pending", "2 done, 1 failed, 1 pending")
    assert (volume.median_std, volume.chi_square, volume.verdict) == (0.002, 2.0, "50 % calibrated")
    assert (volume.seconds, volume.reason, volume.thumbnail) == (4, "<script>alert(1)</script>", "UE5H")
    assert volume.page == ""
    assert (odd.median_std, odd.chi_square, odd.verdict, odd.page) == (None, None, "not calibrated", "<b>#1.html")


def test_the_page_escapes_what_comes_from_outside(manifest: Manifest) -> None:
    (manifest.folder / "<b>#1.h5").touch()
    page = write_batch_page(manifest).read_text()
    assert '<a href="%3Cb%3E%231.h5">result</a>' in page
    assert "vol.h5" not in page, "there is none yet"
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert 'href="%3Cb%3E%231.html"' in page
    assert "3 of 5 slices done, 1 failed, 0 running, 1 pending." in page
    believed = manifest.believed()
    assert f"Error bars are calibrated in {believed} of 3." in page
    assert believed < 3
    assert page.count("<script>") == 1
    assert [path.name for path in manifest.folder.iterdir() if path.name.startswith(".")] == []


def test_a_thumbnail_is_small_whatever_the_image() -> None:
    found = fake_reconstruction(shape=(300, 200))
    webp = thumbnail(found)
    assert (webp[:4], webp[8:12]) == (b"RIFF", b"WEBP")
    assert matplotlib.image.imread(io.BytesIO(webp), format="webp").shape[:2] == (60, 40)
    noise = torch.rand(300, 200, generator=torch.Generator().manual_seed(0))
    assert len(thumbnail(replace(found, image=noise))) < 2500


def rows(folder: Path, states: list[str]) -> list[VolumeRow]:
    for row, state in enumerate(states):
        if state == "done":
            write_image(folder / f"v.parts/{row}.h5", row)
    return [VolumeRow(row, row * 0.5, f"v.parts/{row}.h5", state) for row, state in enumerate(states)]


def test_a_volume_is_written_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    assert write_volume(path, rows(tmp_path, ["failed", "done"]))
    assert not write_volume(path, rows(tmp_path, ["failed", "done"]))
    assert write_volume(path, rows(tmp_path, ["done", "done"]))
    with h5py.File(path) as file:
        assert file["entry/data/data_errors"][:, 0, 0].tolist() == [0, 1]
        assert file["entry/data"].attrs["axes"].tolist() == ["z", "y", "x"]
        assert file["entry/data/z"].attrs["units"] == "mm"


def test_a_part_that_is_lost_is_nan(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    write_volume(path, rows(tmp_path, ["done", "done"]))
    (tmp_path / "v.parts/1.h5").unlink()
    with h5py.File(path) as file:
        assert np.isnan(file["entry/data/data"][1]).all()


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    volume = rows(tmp_path, ["done"])
    (tmp_path / "v.parts/0.h5").write_text("no")
    with pytest.raises(CtuqError, match=r"0\.h5: expected a result"):
        write_volume(tmp_path / "v.h5", volume)
    assert not (tmp_path / "v.h5").exists()
