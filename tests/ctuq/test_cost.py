"""The estimate of time against scans that were reconstructed, and what follows for ten minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctuq.config import load_config
from ctuq.cost import TWO_CORES, Cost, Speeds
from ctuq.reach import MINUTES, Reach, reach
from ctuq.trials import NetworkTrial, speeds_of

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
ONE_CORE = speeds_of(NetworkTrial(forward=70.0, pushes=21.3, pulls=34.8, fit_steps=40.8), 9.4e10)
"""By the trials on one core of the machine that the saved scans ran on."""


def scans(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text("utf-8"))["scans"]
    return found


def seconds(n_rays: int, speeds: Speeds, size: int = 128) -> float:
    return Cost(load_config(None), n_rays, (size, size), noise_stated=False, speeds=speeds).seconds


@pytest.mark.parametrize(
    ("name", "scan", "n_rays"),
    [
        ("real_seconds", "ta", 4200),
        ("real_seconds", "tb", 6300),
        ("real_seconds", "lotus", 6300),
        ("real_60_views", "tb", 8400),
    ],
)
def test_two_cores_take_what_is_estimated(name: str, scan: str, n_rays: int) -> None:
    assert seconds(n_rays, TWO_CORES) == pytest.approx(scans(f"{name}.json")[scan]["seconds"], rel=0.1)


def test_small_images_with_a_kernel_take_what_is_estimated() -> None:
    median = json.loads((RESULTS / "kmnist_seconds.json").read_text("utf-8"))["median"]["seconds"]
    config = load_config(Path(__file__).parents[2] / "configs" / "kmnist.yaml")
    assert Cost(config, 20 * 41, (28, 28), noise_stated=False).seconds == pytest.approx(median, rel=0.1)


@pytest.mark.parametrize(("scan", "n_rays"), [("ta", 4200), ("tb", 6300), ("lotus", 6300)])
def test_one_core_takes_what_follows_from_trials_on_it(scan: str, n_rays: int) -> None:
    assert seconds(n_rays, ONE_CORE) == pytest.approx(scans("real.json")[scan]["mean"]["seconds"], rel=0.12)


def test_ten_minutes_are_ten_minutes_by_the_estimate_of_check() -> None:
    found = reach(TWO_CORES, 1e15)
    assert [each.size for each in found] == [64, 128, 256]
    for each in found:
        assert seconds(each.rays, TWO_CORES, each.size) <= 60 * MINUTES
        if each.limit == "time":
            assert seconds(each.rays + each.size, TWO_CORES, each.size) > 60 * MINUTES
        else:
            assert (each.limit, each.rays // each.size) == ("views", 1000)


def test_a_faster_machine_reaches_further_and_a_slow_one_nowhere() -> None:
    fast = Speeds(fit=TWO_CORES.fit / 100, linear=TWO_CORES.linear / 100, algebra=100 * TWO_CORES.algebra)
    pairs = list(zip(reach(fast, 1e15), reach(TWO_CORES, 1e15), strict=False))
    assert all(a.rays > b.rays or (a.rays, a.limit) == (b.rays, "views") for a, b in pairs)
    assert any(a.rays > b.rays for a, b in pairs)
    assert len(reach(fast, 1e15)) > len(reach(TWO_CORES, 1e15))
    assert reach(Speeds(fit=1.0, linear=1.0, algebra=1e9), 1e15) == []


def test_memory_bounds_it_too_and_is_named() -> None:
    first, *_ = reach(TWO_CORES, 2e9)
    assert first.limit == "memory"
    assert first.rays < reach(TWO_CORES, 1e15)[0].rays
    cost = Cost(load_config(None), first.rays, (first.size, first.size), noise_stated=False)
    assert cost.memory_bytes <= 2e9
    assert first.words.endswith("all that fits into memory")
    assert Reach(128, 3840, limit="time").words == "up to 3,840 rays, as 30 views of 128"
