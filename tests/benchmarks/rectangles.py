"""How many views planning saves on images of rectangles that share a direction; writes JSON after every image.

python -m tests.benchmarks.rectangles [--size 128] [--images 0:10] [--designs planned matern white golden]

200 candidate views of 183 rays (at 128 x 128), 5 % noise, 5 equidistant views to start from, then 5 at a time: after
each of them the network is fitted anew, to all rays so far, and the next are planned. Every image, whichever way its
views were chosen, is one of ctuq at its default settings, whose fit stops by held-out rays: nothing sees the truth. A
design needs as many views as its PSNR, linear between its points, takes to reach that of 20, and of 30, equidistant
views. Runs on single images may go side by side: finished ones are not run again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

import ctuq
from ctuq.view_sequences import equidistant, golden
from tests.benchmarks.acquisitions import Acquisition
from tests.benchmarks.environment import RESULTS, save
from tests.benchmarks.gaussian_design import LENGTHS, WHITE
from tests.benchmarks.rectangle_images import rectangle_scan, rectangles
from tests.benchmarks.views_saved import summary

NOISE, PILOTS, EVERY, MOST = 0.05, 5, 5, 30
TARGETS: Final = (20, 30)
CRITERION = "roi"
PLANNED: Final = ("planned", "matern", "white")
FIELDS: Final = {"matern": LENGTHS, "white": WHITE}
_FIRST_STOP = 20  # no design stops before so many views


def _evenly(angles_rad: Sequence[float], n_views: int) -> list[int]:
    return [round(view * len(angles_rad) / n_views) for view in range(n_views)]


_FIXED: Final[Mapping[str, Callable[[Sequence[float], int], list[int]]]] = {"equidistant": _evenly, "golden": golden}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--images", default="0:10", help="indices A:B; from 1000 on they are for tuning")
    parser.add_argument("--designs", nargs="*", default=[*PLANNED, "golden"], choices=[*PLANNED, "golden"])
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    first, _, last = options.images.partition(":")
    for index in map(str, range(int(first), int(last))):
        for name in ("equidistant", *options.designs):
            known = _images(options.size).get(index, {})
            if name not in known:
                reference = known.get("equidistant", {}).get("psnr_db", {})
                found = _run(_acquisition(int(index), options.size), name, reference)
                _merge(options.size, index, name, found)
                print(index, name, {n: round(value, 2) for n, value in found["psnr_db"].items()}, flush=True)
    print(json.dumps(summary(_images(options.size), PLANNED, TARGETS, MOST), indent=1))


def _acquisition(index: int, size: int) -> Acquisition:
    config = ctuq.load_config({"grid": {"size": size, "pixel_mm": 1.0}})
    truth = torch.as_tensor(rectangles(index, size))
    return Acquisition(rectangle_scan(index, size, NOISE), config, truth, CRITERION)


def _run(acquisition: Acquisition, name: str, equidistant_db: Mapping[str, float]) -> dict[str, Any]:
    """Views in the order that a design chose them, and the PSNR by their number.

    Args:
        acquisition: of one image.
        name: of the design.
        equidistant_db: PSNR that equidistant views reach; empty while that is not known.
    """
    angles = acquisition.scan.geometry.angles_rad
    if name in _FIXED:
        orders = {n: _FIXED[name](angles, n) for n in TARGETS}
        return {"views": orders[TARGETS[-1]], "psnr_db": {str(n): acquisition.psnr(o) for n, o in orders.items()}}
    goal = max(equidistant_db.values())
    views = equidistant(angles, PILOTS, PILOTS)
    curve: dict[str, float] = {}
    stds: dict[str, tuple[float, float]] = {}
    while True:
        n_views, may_stop = len(views), len(views) >= _FIRST_STOP
        if name != "planned" or may_stop:
            curve[str(n_views)] = acquisition.psnr(views)
        if may_stop and (n_views >= MOST or curve[str(n_views)] >= goal):
            return {"views": views, "psnr_db": curve, "std_now_and_promised": stds}
        if name == "planned":
            point = acquisition.planned(views, EVERY)
            curve[str(n_views)], stds[str(n_views)] = point.psnr_db, (point.rms_std, point.promised_std)
            views = views + point.views
        else:
            views = views + acquisition.by_field(views, EVERY, FIELDS[name])


def _images(size: int) -> dict[str, Any]:
    path = RESULTS / f"rectangles_{size}.json"
    found: dict[str, Any] = json.loads(path.read_text())["images"] if path.exists() else {}
    return found


def _merge(size: int, index: str, name: str, found: Mapping[str, Any]) -> Path:
    """Put one design of one image into results/rectangles_SIZE.json, whoever else is writing there."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f".rectangles_{size}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        images = _images(size)
        images.setdefault(index, {})[name] = dict(found)
        setting = {"size": size, "noise": NOISE, "pilots": PILOTS, "every": EVERY, "most": MOST, "criterion": CRITERION}
        ordered = {key: images[key] for key in sorted(images, key=int)}
        about = {"setting": setting, "summary": summary(ordered, PLANNED, TARGETS, MOST)}
        return save(f"rectangles_{size}", {**about, "images": ordered})


if __name__ == "__main__":
    main()
