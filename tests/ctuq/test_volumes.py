"""Cone beams from scan to result: what is written, read, reconstructed, shown and refused."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ctuq import reconstruct
from ctuq.__main__ import main
from ctuq.archive import entry_of
from ctuq.check import check_scan
from ctuq.errors import InputError
from ctuq.picture import draw_picture
from ctuq.planning import plan
from ctuq.preparation import estimate, prepare
from ctuq.preprocessing import PreprocessingSettings, preprocess
from ctuq.reconstruction import Reconstruction
from ctuq.report import render_report
from ctuq.result_file import read_result
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scan, read_scans
from ctuq.sinogram_file import write_sinogram_file
from ctuq.summary import summary_lines
from ctuq.volume_slices import orthogonal_slices
from dip import DensePosterior, SampledPosterior
from operators import ConeBeam, ImageGrid, VolumeGrid
from tests.ctuq.cone_scan import QUICK, SHAPE, ball_scan, cone_beam, quick

# Learned from all but the test rays, as they are where the covariance of all is held.
BY_SAMPLES = ("posterior.cholesky_rays=100", "posterior.judging_samples=64", "posterior.n_samples=64")
OFF_CENTRE = {"cor_index": 3.25, "row_pitch_mm": 1.25, "mid_row_index": 2.0}


@functools.cache
def exact() -> Reconstruction:
    return reconstruct(ball_scan(), quick())


@functools.cache
def sampled() -> Reconstruction:
    return reconstruct(ball_scan(), quick(*BY_SAMPLES, "posterior.method=cg"))


def test_a_volume_with_error_bars_and_their_calibration() -> None:
    found = exact()
    for part in (found.image, found.std, found.standard_error):
        assert part.shape == SHAPE
        assert part.isfinite().all()
    assert (found.std > 0).all()
    assert found.samples.shape == (4, *SHAPE)
    assert isinstance(found.grid, VolumeGrid)
    assert isinstance(found.posterior, DensePosterior)
    assert found.calibration.n_rays == 3 * 6 * 8
    assert found.calibration.whole_views
    assert 0.5 < found.calibration.coverage_95 <= 1
    assert "variance_smooth" in found.diagnostics
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[2:4, 3:5, 3:5] = True
    assert found.region(inside).mean > 2 * found.region(~inside).mean


def test_where_rays_are_too_many_samples_judge_and_the_image_is_the_same() -> None:
    found = sampled()
    assert torch.equal(found.image, exact().image)
    assert isinstance(found.posterior, SampledPosterior)
    assert (found.standard_error > 0).all()
    assert found.calibration.n_rays == exact().calibration.n_rays
    assert math.isfinite(found.diagnostics["linearisation_error"])
    here, there = (
        {"noise": one.diagnostics["variance_noise"], "all": one.diagnostics["variance_all"]} for one in (found, exact())
    )
    factor = found.calibration.temperature / exact().calibration.temperature
    for name, value in here.items():
        assert value == pytest.approx(factor * there[name], rel=1e-6)
    # What is expected of rays and of voxels is the same up to that factor and the scatter of 64 draws.
    score = (exact().calibration.z / found.calibration.z).square() / factor
    assert 0.97 < float(score.mean()) < 1.03
    assert 0.85 < float(score.min()) < float(score.max()) < 1.15
    variance = (found.std / exact().std).square() / factor
    assert 0.9 < float(variance.mean()) < 1.1
    assert 0.4 < float(variance.min()) < float(variance.max()) < 2.2


@pytest.mark.parametrize("make", [exact, sampled])
def test_a_volume_comes_back_from_its_file(tmp_path: Path, make: Any) -> None:
    made = make()
    back = read_result(made.save(tmp_path / "r.h5"))
    for name in ("image", "std", "standard_error", "samples"):
        assert torch.equal(getattr(back, name), getattr(made, name))
    assert back.grid == made.grid
    assert back.rays is not None
    assert made.rays is not None
    assert back.rays.geometry == made.rays.geometry
    assert torch.equal(torch.as_tensor(back.rays.noise.variance), torch.as_tensor(made.rays.noise.variance))
    with h5py.File(tmp_path / "r.h5") as file:
        data = file["entry/data"]
        assert data["data"].shape == data["data_errors"].shape == SHAPE
        assert data["data"].chunks == (1, *SHAPE[1:])
        assert np.diff(data["z"]) == pytest.approx(made.grid.pixel_mm)
    assert summary_lines(back) == summary_lines(made)


def test_pages_show_planes_through_the_middle_and_say_so(tmp_path: Path) -> None:
    page = render_report(exact())
    assert "the middle slice of 6 across the rotation axis, at z = " in page
    assert "8 × 8 × 6 voxels" in page
    titles = [axes.get_title() for axes in draw_picture(exact()).axes]
    assert [title[0] for title in titles[:3]] == ["z", "y", "x"]
    assert exact().picture(tmp_path / "r.png").stat().st_size > 1000


def test_planes_are_cut_where_they_say() -> None:
    grid = exact().grid
    assert isinstance(grid, VolumeGrid)
    z, y, x = orthogonal_slices(exact(), grid)
    volume = exact().image.numpy()
    assert np.array_equal(z.image, volume[3])
    assert np.array_equal(y.image[-1], volume[0, 4])  # z runs upwards
    assert np.array_equal(x.image[-1], volume[0, ::-1, 4])  # and y to the right
    assert (z.place_mm, y.place_mm, x.place_mm) == pytest.approx(
        (0.5 * grid.pixel_mm, -0.5 * grid.pixel_mm, 0.5 * grid.pixel_mm)
    )


@pytest.mark.parametrize("changes", [{}, OFF_CENTRE], ids=["plain", "off-centre"])
@pytest.mark.parametrize("noisy", [False, True])
def test_a_cone_scan_comes_back_as_it_went(tmp_path: Path, changes: dict[str, float], *, noisy: bool) -> None:
    scan = ball_scan(**changes)
    if noisy:
        scan = Scan(scan.sinogram, scan.geometry, 0.1 + torch.rand(scan.sinogram.shape), "ball")
    write_sinogram_file(tmp_path / "cone.h5", scan)
    back = read_scan(tmp_path / "cone.h5")
    assert torch.equal(back.sinogram, scan.sinogram)
    assert back.sha256 == scan.sha256
    assert back.noise_stated == noisy
    geometry = back.geometry
    assert isinstance(geometry, ConeBeam)
    assert geometry.with_grid(cone_beam().grid) == scan.geometry


def test_a_file_of_counts_is_corrected_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "counts.h5"
    options = ("--geometry", "cone", "--views", "24", "--detectors", "8", "--rows", "6", "--photons", "1e5")
    assert main(["simulate", "--out", str(path), *options]) == 0
    scan = read_scan(path)
    with h5py.File(path) as file:
        rays, truth = file["simulation/line_integrals"][()], file["simulation/truth"]
        assert truth.shape == (16, 16, 16)
        assert truth.attrs["pixel_mm"] > 0
    assert rays.max() == pytest.approx(2.0)
    assert scan.sinogram.shape == (24, 6, 8)
    assert scan.noise_stated
    z = (scan.sinogram.numpy() - rays) / torch.as_tensor(scan.noise_variance).sqrt().numpy()
    assert np.abs(z).max() < 6
    assert 0.5 < z.std() < 1.5


def counts_with_dead_rows(path: Path, *dead: int) -> Path:
    options = ("--geometry", "cone", "--views", "24", "--detectors", "8", "--rows", "6", "--photons", "1e5")
    assert main(["simulate", "--out", str(path), *options]) == 0
    with h5py.File(path, "r+") as file:
        for name in ("data", "data_white"):
            for row in dead:
                file[f"exchange/{name}"][:, row] = 0
    return path


@pytest.mark.parametrize("more", [(), (*BY_SAMPLES, "posterior.method=cg")], ids=["exact", "sampled"])
def test_a_dead_detector_row_is_masked(tmp_path: Path, more: tuple[str, ...]) -> None:
    good, scan = (read_scan(counts_with_dead_rows(tmp_path / f"{len(dead)}.h5", *dead)) for dead in ((), (2,)))
    masked = torch.zeros(24, 6, 8, dtype=torch.bool)
    masked[:, 2] = True
    assert torch.equal(scan.masked, masked)
    assert torch.equal(scan.sinogram[~masked], good.sinogram[~masked])
    torch.testing.assert_close(scan.sinogram[:, 2], (scan.sinogram[:, 1] + scan.sinogram[:, 3]) / 2)
    assert str(scan.steps[-1]).startswith("masked 1 detector row. row 2: expected counts in all views")
    found = reconstruct(scan, quick(*more))
    assert found.std.isfinite().all()
    assert found.calibration.n_rays == 3 * 5 * 8


def test_several_dead_detector_rows_are_named(tmp_path: Path) -> None:
    path = counts_with_dead_rows(tmp_path / "dead.h5", 1, 4)
    with pytest.raises(
        InputError, match=r"2 of 6 that cannot.* rows 1, 4\. Crop .* Row 1: expected counts in all views"
    ):
        read_scan(path)


def test_check_and_reconstruct_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sinogram_file(tmp_path / "cone.h5", ball_scan())
    facts = check_scan(tmp_path / "cone.h5", overrides=["grid.size=8"]).facts
    assert facts["row"] == "all 6, of one volume"
    assert facts["volume"].startswith("8 × 8 × 6 voxels of 1 mm")
    assert facts["rays"].startswith("1,152 of the volume: 24 views × 6 detector rows × 8 detector pixels")
    assert check_scan(tmp_path / "cone.h5", overrides=["scan.row=2"]).problems
    settings = [part for override in QUICK for part in ("--set", override)]
    assert main(["reconstruct", str(tmp_path / "cone.h5"), "--out", str(tmp_path / "r.h5"), *settings]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cone.h5", "r.h5", "r.png", "r.html"}
    assert "8 × 8 × 6 voxels" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "r.h5"), "--candidates", "20", "-n", "2"]) == 2
    assert "expected a scan of one slice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evidence.method=tv-map"], "expected an evidence.method that knows volumes"),
        (["prior.kind=filter-gp"], "expected a prior.kind that knows volumes"),
        (["posterior.cholesky_rays=100", "posterior.method=cholesky"], "expected at most posterior.cholesky_rays=100"),
        (["preprocessing.rings=filtering"], "both work on slices"),
        (["preprocessing.centre=find"], "both work on slices"),
        (["grid.size=3000"], "expected a reconstruction that fits into"),
    ],
)
def test_what_volumes_cannot_have_is_refused_at_once(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reconstruct(ball_scan(), quick(*overrides))


def test_single_rows_and_slices_of_a_cone_beam_are_refused(tmp_path: Path) -> None:
    write_sinogram_file(tmp_path / "cone.h5", ball_scan())
    with pytest.raises(InputError, match="expected no detector row for a cone beam"):
        read_scan(tmp_path / "cone.h5", row=2)
    with pytest.raises(InputError, match="expected no detector row for a cone beam"):
        list(read_scans(tmp_path / "cone.h5", [0, 1]))
    problem = entry_of(tmp_path / "cone.h5", "", inspect(tmp_path / "cone.h5")).problem
    assert "expected scans of slices, got a cone beam" in problem
    with pytest.raises(InputError, match="expected a scan of one slice"):
        _ = ball_scan().planar
    with pytest.raises(InputError, match="expected a scan of one slice"):
        plan(exact(), candidates=[0.0, 1.0], n_angles=1)
    with pytest.raises(InputError, match="give a VolumeGrid"):
        ball_scan().on_grid(ImageGrid(shape=(4, 4)))
    with pytest.raises(InputError, match="as the detector saw it"):
        Scan(torch.zeros(24, 48), cone_beam())


def test_bins_are_means_of_squares_and_see_the_same_points() -> None:
    scan = ball_scan(**OFF_CENTRE)
    binned = scan.binned(2)
    squares = scan.sinogram.double().reshape(24, 3, 2, 4, 2).mean((2, 4))
    torch.testing.assert_close(binned.sinogram.double(), squares, rtol=1e-6, atol=1e-7)
    geometry = binned.geometry
    assert isinstance(geometry, ConeBeam)
    torch.testing.assert_close(geometry.row_positions(), cone_beam(**OFF_CENTRE).row_positions().reshape(3, 2).mean(1))
    assert Scan(scan.sinogram, scan.geometry, 4.0).binned(2).noise_variance == 1.0
    with pytest.raises(InputError, match="from 1 to the scan's 6 detector pixels"):
        scan.binned(7)


def test_the_volume_fills_the_detectors_height_at_the_axis() -> None:
    for changes, n_slices, centre in ((({}), 6, 0.0), ({"mid_row_index": 1.5}, 6, 1.0)):
        grid = prepare(ball_scan(**changes), quick()).geometry.grid
        assert isinstance(grid, VolumeGrid)
        assert grid.shape == (n_slices, 8, 8)
        assert grid.centre_z_mm == pytest.approx(centre)
    assert prepare(ball_scan(), quick("grid.slices=3")).geometry.grid.shape == (3, 8, 8)


def test_masked_rays_are_interpolated_along_their_row() -> None:
    scan = ball_scan()
    rays = torch.zeros(scan.sinogram.shape, dtype=torch.bool)
    rays[3, 2, 4] = True
    masked = scan.with_masked(rays)
    assert masked.masked.equal(rays)
    neighbours = scan.sinogram[3, 2, 3] / 2 + scan.sinogram[3, 2, 5] / 2
    torch.testing.assert_close(masked.sinogram[3, 2, 4], neighbours)
    columns = preprocess(scan, PreprocessingSettings(broken_columns=(5,)))
    assert columns.masked[..., 5].all()
    assert int(columns.masked.sum()) == 24 * 6


def test_memory_grows_with_the_voxels_and_not_with_rays_that_are_not_held() -> None:
    few, many = (estimate(ball_scan(), quick(f"grid.size={n}", "grid.slices=100")) for n in (40, 80))
    assert 3 < many.memory_bytes / few.memory_bytes < 5
    held = estimate(ball_scan(), quick("posterior.method=cg"))
    part = estimate(ball_scan(), quick("posterior.method=cg", "posterior.cholesky_rays=10", "evidence.max_rays=10"))
    assert part.memory_bytes < held.memory_bytes
