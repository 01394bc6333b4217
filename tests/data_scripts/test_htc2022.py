from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from ctuq.scan_file import inspect, read_scan
from data_scripts import htc2022
from operators import FanBeam, ImageGrid, filtered_back_projection

ROOT = Path(__file__).parents[2]
LOCAL = ROOT.parent / "shared" / "data" / "htc2022"
needs_data = pytest.mark.skipif(not LOCAL.is_dir(), reason="the challenge's files are not in ../shared/data/htc2022")


def small_challenge_file(folder: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """As the challenge writes them, with 9 views of 8 pixels; the last view repeats the first."""
    sinogram = np.random.default_rng(0).random((9, 8))
    sinogram[-1] = sinogram[0]
    facts = {
        "angles": np.linspace(0, 360, 9),
        "numDetectorsPost": 8,
        "pixelSizePost": 0.2,
        "distanceSourceOrigin": 410.66,
        "distanceSourceDetector": 553.74,
    }
    content = {"CtDataFull": {"type": "2d", "sinogram": sinogram, "parameters": facts}}
    scipy.io.savemat(folder / f"htc2022_{name}_full.mat", content)
    return sinogram


def test_converts_the_struct_and_drops_the_repeated_view(tmp_path: Path) -> None:
    sinogram = small_challenge_file(tmp_path, "ta")
    assert htc2022.main(["--local", str(tmp_path), "--out", str(tmp_path / "out"), "--objects", "ta"]) == 0
    scan = read_scan(tmp_path / "out" / "htc2022_ta.h5")
    np.testing.assert_allclose(scan.sinogram.numpy(), sinogram[:8], rtol=1e-6)
    assert np.degrees(scan.geometry.angles_rad) == pytest.approx(45.0 * np.arange(8))
    assert isinstance(scan.geometry, FanBeam)
    assert scan.geometry.origin_detector_mm == 143.08
    assert scan.name == "HTC 2022 ta"
    assert "CC BY 4.0" in inspect(tmp_path / "out" / "htc2022_ta.h5").licence


def test_thins_bins_and_refuses_to_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_challenge_file(tmp_path, "tb")
    command = ["--local", str(tmp_path), "--out", str(tmp_path), "--objects", "tb", "--step", "2", "--bin", "4"]
    assert htc2022.main(command) == 0
    assert "4 views, 2 detector pixels" in capsys.readouterr().out
    assert htc2022.main(command) == 2
    assert "exists" in capsys.readouterr().err
    assert htc2022.main([*command, "--force"]) == 0


def test_says_what_to_download_under_which_licence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert htc2022.main(["--local", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    for fragment in ("htc2022_ta_full.mat, htc2022_tb_full.mat", "10.5281/zenodo.6984868", "CC BY 4.0", "Meaney"):
        assert fragment in said
    assert not (tmp_path / "out").exists()


def test_another_mat_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scipy.io.savemat(tmp_path / "htc2022_ta_full.mat", {"other": 1})
    assert htc2022.main(["--local", str(tmp_path), "--out", str(tmp_path), "--objects", "ta"]) == 2
    assert "expected a struct CtDataFull" in capsys.readouterr().err


def test_views_that_cannot_be_equally_spaced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        htc2022.main(["--local", str(tmp_path), "--out", str(tmp_path), "--views", "100"])


@needs_data
def test_the_shipped_scan_is_what_the_script_makes(tmp_path: Path) -> None:
    command = ["--local", str(LOCAL), "--out", str(tmp_path), "--objects", "ta", "--views", "90", "--bin", "2"]
    assert htc2022.main(command) == 0
    assert read_scan(tmp_path / "htc2022_ta.h5").sha256 == read_scan(ROOT / "ctuq" / "data" / "htc2022_ta.h5").sha256


@needs_data
@pytest.mark.parametrize("name", ["ta", "tb"])
def test_reconstructs_the_organisers_image(name: str) -> None:
    scan = htc2022.read_scan_mat(LOCAL / f"htc2022_{name}_full.mat").every(4).binned(2)
    reference = scipy.io.loadmat(LOCAL / f"htc2022_{name}_full_recon_fbp.mat")["reconFullFbp"] / 0.148322
    coarse = torch.tensor(reference).reshape(128, 4, 128, 4).mean(dim=(1, 3))
    scan = scan.on_grid(ImageGrid(shape=(128, 128), pixel_mm=4 * 0.148322))
    image = filtered_back_projection(scan.geometry, scan.sinogram).to(coarse)
    assert float(torch.corrcoef(torch.stack([image.ravel(), coarse.ravel()]))[0, 1]) > 0.995
    assert float((image * coarse).sum() / (coarse * coarse).sum()) == pytest.approx(1, abs=0.03)
