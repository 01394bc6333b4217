from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import imageio.v3
import numpy as np
import pytest

from ctuq.__main__ import main
from ctuq.errors import InputError
from ctuq.phantoms import phantom
from ctuq.scan_file import inspect, read_scan
from ctuq.sinogram_file import write_sinogram_file
from ctuq.transmission import line_integrals
from operators import filtered_back_projection

SMALL = ("--views", "30", "--detectors", "40")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def simulate(path: Path, *options: str) -> int:
    return main(["simulate", "--out", str(path), *SMALL, *options])


def test_counts_with_flats_and_darks_and_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert simulate(path, "--photons", "1e5", "--flats", "7", "--darks", "3", "--dark-level", "20", "--seed", "4") == 0
    with h5py.File(path) as file:
        exchange = file["exchange"]
        assert {name: exchange[name].shape for name in ("data", "data_white", "data_dark", "theta")} == {
            "data": (30, 1, 40),
            "data_white": (7, 1, 40),
            "data_dark": (3, 1, 40),
            "theta": (30,),
        }
        assert {exchange[name].attrs["units"] for name in ("data", "data_white", "data_dark")} == {"counts"}
        assert exchange["data"].attrs["axes"] == "theta:y:x"
        assert exchange["data_white"].attrs["axes"] == "theta_white:y:x"
        found = line_integrals(exchange["data"][:, 0], exchange["data_white"][:, 0], exchange["data_dark"][:, 0])
        exact = file["simulation/line_integrals"][:, 0]
        assert exact.max() == pytest.approx(2.0, rel=1e-5)
        assert np.square((found.line_integrals - exact) / np.sqrt(found.variance)).mean() == pytest.approx(1, abs=0.25)
        truth, pixel = file["simulation/truth"], file["simulation/truth"].attrs["pixel_mm"]
        assert truth.shape == (80, 80)
        assert truth.shape[0] * pixel * math.sqrt(2) == pytest.approx(40)
        assert file["simulation"].attrs["seed"] == 4


@pytest.mark.parametrize("dark_level", ["0", "100"])
def test_by_default_flats_are_as_good_as_views_and_nothing_warns_of_rings(tmp_path: Path, dark_level: str) -> None:
    path = tmp_path / "a.h5"
    assert simulate(path, "--photons", "1000", "--dark-level", dark_level) == 0
    told = " ".join(str(step) for step in read_scan(path).steps)
    assert "variance of every ray" in told
    assert "rings" not in told
    assert simulate(path, "--photons", "1000", "--dark-level", dark_level, "--flats", "3", "--force") == 0
    assert "expect rings" in " ".join(str(step) for step in read_scan(path).steps)


@pytest.mark.parametrize(
    "options",
    [("--geometry", "fan"), ("--geometry", "parallel", "--cor-index", "17.5")],
    ids=["fan", "parallel"],
)
def test_line_integrals_are_read_back_as_a_scan_of_the_truth(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / "b.h5"
    assert simulate(path, "--noise", "0.001", "--views", "90", "--phantom", "rectangles", *options) == 0
    assert inspect(path).problems == ()
    with h5py.File(path) as file:
        truth = file["simulation/truth"][()]
        pixel_mm = float(file["simulation/truth"].attrs["pixel_mm"])
    scan = read_scan(path, size=40, pixel_mm=2 * pixel_mm)
    image = filtered_back_projection(scan.geometry, scan.sinogram, window="hann").numpy()
    coarse = truth.reshape(40, 2, 40, 2).mean(axis=(1, 3))
    assert np.corrcoef(image.ravel(), coarse.ravel())[0, 1] > 0.9
    assert image.sum() == pytest.approx(coarse.sum(), rel=0.05)


def test_the_same_seed_is_the_same_scan_and_another_is_not(tmp_path: Path) -> None:
    data = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert simulate(tmp_path / f"{name}.h5", "--photons", "100", "--phantom", "rectangles", "--seed", seed) == 0
        with h5py.File(tmp_path / f"{name}.h5") as file:
            data.append(file["exchange/data"][()])
    assert np.array_equal(data[0], data[1])
    assert not np.array_equal(data[0], data[2])


def test_what_was_simulated_is_said_as_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path / "a.h5", "--photons", "100", "--json") == 0
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["photons"], event["phantom"]) == ("simulated", 100, "shepp-logan")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "either --photons or --noise, got neither"),
        (("--photons", "10", "--noise", "0.1"), "got both"),
        (("--photons", "0"), "positive --photons"),
        (("--noise", "0.1", "--pitch", "-1"), "positive --pitch"),
        (("--photons", "10", "--dark-level", "3", "--darks", "0"), "got none: try --darks 10"),
        (("--noise", "0.1", "--cor-index", "50"), "--cor-index on the detector"),
        (("--noise", "0.1", "--phantom", "head"), "expected a phantom shepp-logan or rectangles, or a picture"),
        (("--noise", "0.1", "--phantom", "missing.png"), "no such file"),
        (("--noise", "0.1", "--geometry", "fan", "--source-origin", "-5"), "expected a scan that can be made"),
    ],
)
def test_wrong_requests_end_with_2_and_leave_nothing(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path / "a.h5", *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_replaced_with_force_only(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert simulate(path, "--photons", "100") == 0
    assert simulate(path, "--photons", "100") == 2
    assert simulate(path, "--photons", "100", "--force") == 0


@pytest.mark.parametrize("name", ["shepp-logan", "rectangles"])
def test_phantoms_are_from_0_to_1_at_every_size(name: str) -> None:
    for size in (16, 33):
        image = phantom(name, size, rng=rng())
        assert image.shape == (size, size)
        assert (image.min(), image.max()) == (pytest.approx(0, abs=1e-12), 1)


def test_pictures_are_padded_to_squares_and_gray(tmp_path: Path) -> None:
    values = np.zeros((20, 40))
    values[5:15, 10:30] = 3.0
    np.save(tmp_path / "a.npy", values)
    imageio.v3.imwrite(tmp_path / "a.png", np.repeat((values * 80).astype(np.uint8)[..., None], 3, axis=2))
    imageio.v3.imwrite(tmp_path / "a.tif", (values * 80).astype(np.uint8))
    first, *others = (phantom(str(tmp_path / f"a.{kind}"), 40, rng=rng()) for kind in ("npy", "png", "tif"))
    assert first[15:25, 10:30].min() == 1
    assert first.sum() == 200
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)


@pytest.mark.parametrize("values", [[[1.0, -1.0]], [[0.0, 0.0]], [[1.0, math.nan]], [1.0, 2.0], [["a"]]])
def test_pictures_that_are_none_are_refused(tmp_path: Path, values: object) -> None:
    np.save(tmp_path / "a.npy", np.array(values))
    with pytest.raises(InputError, match=r"a\.npy"):
        phantom(str(tmp_path / "a.npy"), 16, rng=rng())


def test_a_narrow_arc_is_read_back(tmp_path: Path) -> None:
    assert simulate(tmp_path / "arc.h5", "--arc", "5", "--noise", "0.02") == 0
    assert inspect(tmp_path / "arc.h5").problems == ()


def test_line_integrals_are_written_as_any_other_scan_is(tmp_path: Path) -> None:
    assert simulate(tmp_path / "simulated.h5", "--noise", "0.02") == 0
    write_sinogram_file(tmp_path / "other.h5", read_scan(tmp_path / "simulated.h5"))
    assert stored(tmp_path / "simulated.h5") == stored(tmp_path / "other.h5")


def stored(path: Path) -> dict[str, object]:
    """How everything that both files have is kept."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        for group in ("exchange", "measurement/instrument/ctuq_geometry"):
            for name, node in (("", file[group]), *file[group].items()):
                kept = (node.dtype, node.compression_opts, node.shuffle, node.shape) if name else ()
                found[f"{group}/{name}"] = (kept, dict(node.attrs))
    return found
