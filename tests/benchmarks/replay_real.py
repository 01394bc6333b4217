"""Real scans acquired again in the order of a plan, and of others; writes JSON after every curve.

python -m tests.benchmarks.replay_real [--scans ta tb lotus] [--seeds 0 1 2] [--size 128]

From 5 equidistant views to 40, 5 at a time; the network is fitted anew to all views so far before the next are planned.
Every image is one of ctuq at its default settings. PSNR inside the object, against the filtered back-projection of
all views by the data's authors, averaged to the same pixels. A seed draws the network, the views that are held out and
the draws behind a plan. Runs on different scans may go side by side: finished curves are not run again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import statistics
from collections.abc import Mapping
from typing import Any, Final

import torch

import ctuq
from ctuq.preparation import prepare
from ctuq.view_sequences import equidistant, golden
from tests.benchmarks.acquisitions import Acquisition
from tests.benchmarks.environment import RESULTS, save
from tests.benchmarks.real import CASES, area_average, disc

PILOTS, EVERY, MOST = 5, 5, 40
CRITERION = "roi"
CANDIDATE_STEP: Final = {"ta": 4, "tb": 4, "lotus": 2}  # 180 candidates over 360 degrees
ORDERS: Final = ("equidistant", "golden", "planned")
POINTS: Final = tuple(range(2 * PILOTS, MOST + 1, EVERY))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    for seed in options.seeds:
        for name in options.scans:
            acquisition = acquisition_of(name, options.size, seed)
            for order in ORDERS:
                if order not in _curves(options.size).get(name, {}).get(str(seed), {}):
                    found = _run(acquisition, order)
                    _merge(options.size, name, seed, order, found)
                    print(name, seed, order, {n: round(value, 2) for n, value in found["psnr_db"].items()}, flush=True)
    print(json.dumps(summary(_curves(options.size)), indent=1))


def summary(curves: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """By scan and number of views: PSNR of every order, and by how much the planned one is ahead of the best other.

    Means over the seeds that all orders have; the best other is the one whose mean is higher.
    """
    found: dict[str, Any] = {}
    for name, seeds in curves.items():
        whole = [orders for orders in seeds.values() if orders.keys() >= set(ORDERS)]
        rows = {}
        for n in map(str, POINTS if whole else ()):
            means = {order: statistics.fmean(orders[order]["psnr_db"][n] for orders in whole) for order in ORDERS}
            ahead = means["planned"] - max(means[order] for order in ORDERS if order != "planned")
            rows[n] = {**means, "planned ahead": ahead}
        found[name] = {"seeds": len(whole), "views": rows}
    return found


def acquisition_of(name: str, size: int, seed: int) -> Acquisition:
    """A scan of 180 candidates, with its reference."""
    case = CASES[name]
    scan = case.scan().every(CANDIDATE_STEP[name])
    config = ctuq.load_config({"grid": {"size": size}})
    grid = prepare(scan, config).planar.grid
    return Acquisition(scan, config, area_average(*case.reference(), grid), CRITERION, disc(case, grid), seed)


def _run(acquisition: Acquisition, order: str) -> dict[str, Any]:
    """Views in the order they were measured, and the PSNR by their number."""
    angles = acquisition.scan.geometry.angles_rad
    views = golden(angles, MOST) if order == "golden" else equidistant(angles, PILOTS, MOST)
    if order != "planned":
        return {"views": views, "psnr_db": {str(n): acquisition.psnr(views[:n]) for n in POINTS}}
    views = views[:PILOTS]
    curve: dict[str, float] = {}
    stds: dict[str, tuple[float, float]] = {}
    while len(views) < MOST:
        point = acquisition.planned(views, EVERY)
        n_views = str(len(views))
        curve[n_views], stds[n_views] = point.psnr_db, (point.rms_std, point.promised_std)
        views = views + point.views
    curve[str(MOST)] = acquisition.psnr(views)
    return {"views": views, "psnr_db": curve, "std_now_and_promised": stds}


def _curves(size: int) -> dict[str, Any]:
    path = RESULTS / f"replay_real_{size}.json"
    found: dict[str, Any] = json.loads(path.read_text())["curves"] if path.exists() else {}
    return found


def _merge(size: int, name: str, seed: int, order: str, found: Mapping[str, Any]) -> None:
    """Put one curve into results/replay_real_SIZE.json, whoever else is writing there."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f".replay_real_{size}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        curves = _curves(size)
        curves.setdefault(name, {}).setdefault(str(seed), {})[order] = dict(found)
        setting = {"size": size, "pilots": PILOTS, "every": EVERY, "most": MOST, "criterion": CRITERION}
        save(f"replay_real_{size}", {"setting": setting, "summary": summary(curves), "curves": curves})


if __name__ == "__main__":
    main()
