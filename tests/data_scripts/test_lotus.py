from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ctuq.scan_file import inspect, read_scan
from data_scripts import lotus
from operators import FanBeam, ImageGrid, filtered_back_projection

LOCAL = Path(__file__).parents[3] / "shared" / "data" / "fips_lotus"
needs_data = pytest.mark.skipif(not LOCAL.is_dir(), reason="the lotus files are not in ../shared/data/fips_lotus")


def test_converts_and_shifts_the_axis(tmp_path: Path) -> None:
    sinogram = np.random.default_rng(0).random((6, 8)).astype(np.float32)
    np.savez(
        tmp_path / "lotus_fan.npz",
        sino=sinogram, angles_rad=np.arange(6.0), det_pitch_mm=0.2, SOD_mm=540.0, SDD_mm=630.0, cor_shift_px=-1.43,
    )  # fmt: skip
    assert lotus.main(["--local", str(tmp_path), "--out", str(tmp_path), "--step", "2"]) == 0
    scan = read_scan(tmp_path / "lotus.h5")
    np.testing.assert_array_equal(scan.sinogram.numpy(), sinogram[::2])
    assert scan.geometry.cor_index == pytest.approx(3.5 - 1.43)
    assert isinstance(scan.geometry, FanBeam)
    assert (scan.geometry.source_origin_mm, scan.geometry.origin_detector_mm) == (540.0, 90.0)
    assert "Bubba" in inspect(tmp_path / "lotus.h5").licence


def test_says_what_to_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lotus.main(["--local", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "10.5281/zenodo.1254204" in said
    assert "CC BY 4.0" in said


@pytest.mark.parametrize("archive", [False, True])
def test_another_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, archive: bool) -> None:
    if not archive:
        (tmp_path / "lotus_fan.npz").write_text("no archive")
    else:
        np.savez(tmp_path / "lotus_fan.npz", sino=np.ones((2, 2)))
    assert lotus.main(["--local", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "expected sino, angles_rad and distances" in capsys.readouterr().err


@needs_data
def test_the_axis_is_where_the_reference_has_it() -> None:
    """The given shift beats the centre and the other sign against the reference reconstruction."""
    scan = lotus.read_scan_npz(LOCAL / "lotus_fan.npz").on_grid(ImageGrid(shape=(501, 501), pixel_mm=0.19))
    with np.load(LOCAL / "lotus_fbp_501.npz") as content:
        reference = torch.tensor(content["image"])

    def agreement(cor_index: float | None) -> float:
        image = filtered_back_projection(replace(scan.geometry, cor_index=cor_index), scan.sinogram)
        return float(torch.corrcoef(torch.stack([image.ravel(), reference.ravel()]))[0, 1])

    given, centred, mirrored = (agreement(index) for index in (scan.geometry.cor_index, None, 279.5 + 1.43))
    assert given > 0.99
    assert given - 0.01 > centred > mirrored + 0.02
