from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctuq import preparation
from ctuq.available_memory import available_memory
from ctuq.config import Config, load_config
from ctuq.errors import InputError
from ctuq.preparation import Estimate, estimate, prepare, require_feasible
from ctuq.scan import Scan
from operators import FanBeam, ImageGrid


def fan_scan(*, n_views: int = 40, n_detectors: int = 70) -> Scan:
    geometry = FanBeam(
        grid=ImageGrid(shape=(10, 10), pixel_mm=0.1),
        angles_rad=np.linspace(0, 2 * np.pi, n_views, endpoint=False),
        n_detectors=n_detectors,
        pitch_mm=0.5,
        source_origin_mm=100,
        origin_detector_mm=50,
    )
    sinogram = torch.rand(n_views, n_detectors, generator=torch.Generator().manual_seed(0))
    return Scan(sinogram, geometry, None, "fan")


def config(**sections: Any) -> Config:
    return load_config(sections)


@pytest.mark.parametrize(
    ("grid", "scan", "size", "bin_"),
    [
        ({}, {}, 70, 1),
        ({}, {"detector_bin": 4}, 17, 4),
        ({"size": 35}, {}, 35, 2),
        ({"size": 30}, {}, 30, 2),
        ({"size": 100}, {}, 100, 1),
        ({"size": 30}, {"detector_bin": 1}, 30, 1),
    ],
)
def test_grid_and_bin_follow_each_other(grid: dict[str, int], scan: dict[str, int], size: int, bin_: int) -> None:
    settings = config(grid=grid, scan=scan)
    prepared = prepare(fan_scan(), settings)
    assert prepared.geometry.grid.shape == (size, size)
    assert prepared.geometry.n_detectors == 70 // bin_
    assert prepared.geometry.pitch_mm == pytest.approx(0.5 * bin_)
    # The field of view at the axis: the detector, scaled down to where the object is.
    assert prepared.geometry.grid.pixel_mm == pytest.approx(70 * 0.5 * 100 / 150 / size)
    assert estimate(fan_scan(), settings).n_rays == prepared.sinogram.numel()


def test_a_given_pixel_is_kept_and_views_are_thinned() -> None:
    prepared = prepare(fan_scan(), config(grid={"size": 20, "pixel_mm": 0.25}, scan={"angle_step": 3}))
    assert prepared.geometry.grid == ImageGrid(shape=(20, 20), pixel_mm=0.25)
    assert prepared.geometry.angles_rad == fan_scan().geometry.angles_rad[::3]
    assert torch.equal(prepared.sinogram, fan_scan().every(3).binned(3).sinogram)
    assert prepared.name == "fan"


def test_a_bin_wider_than_the_detector_or_a_grid_that_reaches_the_source_is_refused() -> None:
    with pytest.raises(InputError, match=r"scan\.detector_bin"):
        prepare(fan_scan(), config(scan={"detector_bin": 71}))
    with pytest.raises(InputError, match="source"):
        prepare(fan_scan(), config(grid={"pixel_mm": 10.0}))


def costs(**sections: Any) -> Estimate:
    return estimate(fan_scan(n_views=40), config(**({"grid": {"size": 30}} | sections)))


def test_the_estimate_grows_with_rays_pixels_weights_and_steps() -> None:
    base = costs()
    more_views = estimate(fan_scan(n_views=80), config(grid={"size": 30}))
    fewer_views = costs(scan={"angle_step": 2})
    assert fewer_views.n_rays < base.n_rays < more_views.n_rays
    assert fewer_views.memory_bytes < base.memory_bytes < more_views.memory_bytes
    assert fewer_views.seconds < base.seconds < more_views.seconds
    wide = costs(network={"channels": [64, 64, 64]})
    assert wide.n_weights > base.n_weights
    assert wide.memory_bytes > base.memory_bytes
    assert costs(fit={"steps": 5000}).seconds > base.seconds
    for method in ("cholesky", "cg", "sgd", "sdd"):
        few = costs(posterior={"method": method, "block": 32})  # draws together, of which cg would take more
        assert few.memory_bytes <= costs(posterior={"method": "dense"}).memory_bytes
    cholesky, cg, sgd = (costs(posterior={"method": method}).seconds for method in ("cholesky", "cg", "sgd"))
    assert cholesky < cg < sgd


def test_the_tangent_kernel_holds_no_rows_of_the_rays() -> None:
    def at(channels: int, **sections: Any) -> Estimate:
        network = {"output": "sigmoid", "channels": [channels] * 3}
        return costs(grid={"size": 12, "largest_attenuation": 1}, scan={"detector_bin": 1}, network=network, **sections)

    kernel = {"kind": "tangent-kernel"}
    narrow, wide = at(16, prior=kernel), at(32, prior=kernel)
    rows = 4 * wide.n_rays * (wide.n_weights - narrow.n_weights)
    assert wide.memory_bytes - narrow.memory_bytes < 0.1 * rows
    assert at(32).memory_bytes - at(16).memory_bytes > 0.9 * rows
    # What it does hold: a member's rows of the pixels, and matrices of the rays.
    many_pixels = costs(grid={"size": 45, "largest_attenuation": 1}, prior=kernel, network={"output": "sigmoid"})
    assert many_pixels.memory_bytes > 2 * 4 * 45**2 * many_pixels.n_weights
    assert narrow.memory_bytes > 3 * 8 * narrow.n_rays**2
    members = at(16, prior=kernel, fit={"members": 6})
    assert narrow.memory_bytes < members.memory_bytes < 2 * narrow.memory_bytes


def test_weights_counted_are_the_convolutions() -> None:
    assert costs(network={"channels": [2, 3], "skip_channels": [1]}).n_weights == sum(
        (9 * 1 * 2, 9 * 2 * 2, 9 * 2 * 3, 9 * 3 * 3, 2 * 1, 9 * (3 + 1) * 2, 9 * 2 * 2, 2)
    )


@pytest.mark.parametrize("method", ["cholesky", "dense"])
@pytest.mark.parametrize("size", [60, None])
@pytest.mark.parametrize("largest", [1, 10, 23, 40, 59])
def test_a_grid_too_large_for_memory_names_the_largest_that_fits(
    monkeypatch: pytest.MonkeyPatch, method: str, size: int | None, largest: int
) -> None:
    def at(grid_size: int | None) -> Estimate:
        return estimate(fan_scan(), config(grid={"size": grid_size}, posterior={"method": method}))

    available = at(largest).memory_bytes
    monkeypatch.setattr(preparation, "available_memory", lambda _device: available)
    (problem,) = at(size).problems
    assert f"got grid.size {size or 70} " in problem
    assert problem.endswith(f"grid.size up to {largest}")
    assert not at(largest).problems
    assert at(largest + 1).problems


def test_the_named_size_fits_although_dense_posteriors_take_more_than_larger_sampled_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at(size: int) -> Estimate:
        return estimate(fan_scan(n_views=8), config(grid={"size": size}))

    available = at(51).memory_bytes
    assert at(50).memory_bytes > available
    monkeypatch.setattr(preparation, "available_memory", lambda _device: available)
    (problem,) = at(64).problems
    found = re.search(r"grid\.size up to (\d+)$", problem)
    assert found is not None
    assert not at(int(found[1])).problems


@pytest.mark.parametrize(("name", "value"), [("angle_step", 3), ("detector_bin", 2)])
def test_fewer_rays_are_advised_before_a_smaller_image(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    def at(**scan: int) -> Estimate:
        return estimate(fan_scan(n_views=60), config(grid={"size": 24}, scan={"detector_bin": 1} | scan))

    available = at(**{name: value}).memory_bytes
    monkeypatch.setattr(preparation, "available_memory", lambda _device: available)
    (problem,) = at().problems
    assert "GB: choose scan." in problem
    assert f"scan.{name}={value}" in problem
    assert not at(**{name: value}).problems


def test_where_nothing_fits_a_smaller_network_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "available_memory", lambda _device: 1000)
    (problem,) = estimate(fan_scan(), Config()).problems
    assert problem.endswith("use a smaller network (network.channels), or more memory")
    with pytest.raises(InputError, match="free memory"):
        require_feasible(fan_scan(), Config())


def test_what_fits_has_no_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = estimate(fan_scan(), Config()).memory_bytes
    monkeypatch.setattr(preparation, "available_memory", lambda _device: needed)
    assert estimate(fan_scan(), Config()).problems == []
    require_feasible(fan_scan(), Config())


def test_available_memory_is_what_this_machine_has() -> None:
    assert 0 < available_memory() < 2**50


@pytest.mark.parametrize(("limit", "expected"), [("3000000\n", 2_250_000), ("1000\n", 0)])
def test_a_containers_limit_counts_but_for_files_in_cache(tmp_path: Path, limit: str, expected: int) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 700000\ninactive_file 250000\n")
    assert available_memory(group=tmp_path) == expected


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    for name, text in {"memory.max": "max\n", "memory.current": "1\n", "memory.stat": "inactive_file 0\n"}.items():
        (tmp_path / name).write_text(text)
    assert available_memory(group=tmp_path) > 10**8
    assert available_memory(group=tmp_path / "none") > 10**8
