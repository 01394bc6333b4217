"""PSNR against steps of fits from random and from educated weights, and the error bars of both; writes JSON.

python -m tests.benchmarks.educated_start [--cases kmnist error_bars lotus] [--images 4] [--weights DIR]

Weights are trained on random ellipses by `ctuq.pretrain`, once a case, and kept in a folder. KMNIST: the first
validation images, 20 angles, 5 % noise, settings of configs/kmnist.yaml, curves with one member. Lotus: 64x64 pixels
from 45 views against the authors' filtered back-projection, default settings. A share of the steps is one of fit.steps
and fit.refit_steps alike. Error bars are of KMNIST, from random weights with all steps and from educated ones with a
third. Seconds are of one core's time, as the processor counts it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ctuq
from ctuq.problem import fitted_image
from dip import DensePosterior
from operators import ImageGrid
from tests.benchmarks.environment import SHARED_DATA, save
from tests.benchmarks.kmnist import CONFIG, score_errors, simulate
from tests.benchmarks.real import CASES, area_average

ANGLES, NOISE = 20, 0.05
ONE_MEMBER = ["fit.members=1"]
SHARES = {"random": (1 / 9, 1 / 3, 1.0), "educated": (1 / 9, 1 / 3)}
SCORES = ("psnr_db", "rms_z", "coverage_95", "joint_log_likelihood", "held_out_chi_square", "held_out_coverage_95")

Psnr = Callable[[Tensor], float]


def of_share(config: ctuq.Config, share: float) -> list[str]:
    """Overrides for a share of the configured steps."""
    return [f"fit.steps={round(share * config.fit.steps)}", f"fit.refit_steps={round(share * config.fit.refit_steps)}"]


def educated(name: str, scan: ctuq.Scan, config: ctuq.Config, folder: Path) -> tuple[str, dict[str, Any]]:
    """The override that names the weights, made where they are missing, and how they came to be."""
    path, notes = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not path.exists():
        began = time.process_time()
        found = ctuq.pretrain(scan, config)
        seconds = time.process_time() - began
        kept = ("settings", "noise_share", "rms_error", "rms_error_of_input")
        notes.write_text(json.dumps({"core_seconds": seconds, **{key: found.record[key] for key in kept}}))
        found.save(path)
    told: dict[str, Any] = json.loads(notes.read_text())
    print(name, told, flush=True)
    return f"fit.init={path}", told


def curves(
    scan: ctuq.Scan, source: Path | None, overrides: Sequence[str], init: str, psnr: Psnr, seed: int
) -> list[dict[str, Any]]:
    """PSNR of the image that is fitted in every share of the steps, by start."""
    config = ctuq.load_config(source, overrides=overrides)
    points = []
    for start, shares in SHARES.items():
        for share in shares:
            chosen = [*overrides, *of_share(config, share), *([init] if start == "educated" else [])]
            began = time.process_time()
            image = fitted_image(scan, ctuq.load_config(source, overrides=chosen), seed=seed)
            seconds = time.process_time() - began
            points.append({"start": start, "share": share, "psnr_db": psnr(image), "core_seconds": seconds})
            print(scan.name, seed, points[-1], flush=True)
    return points


def scored(scan: ctuq.Scan, truth: Tensor, overrides: Sequence[str]) -> dict[str, float]:
    """Error bars of a KMNIST image against its truth, and by held-out rays."""
    found = ctuq.reconstruct(scan, ctuq.load_config(CONFIG, overrides=overrides))
    error = truth - found.image.double()
    assert isinstance(found.posterior, DensePosterior)
    figures = {
        "psnr_db": float(-10 * torch.log10(error.square().mean())),
        **score_errors(error, found.posterior.covariance()),
        "held_out_chi_square": found.calibration.chi_square,
        "held_out_coverage_95": found.calibration.coverage_95,
    }
    return {name: figures[name] for name in SCORES}


def means(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    """Of every key."""
    return {key: statistics.fmean(row[key] for row in rows) for key in keys}


def summed_up(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over images or seeds, for each start and share of the steps."""
    groups = [(start, share) for start, shares in SHARES.items() for share in shares]
    return [
        {"start": start, "share": share}
        | means([p for p in points if (p["start"], p["share"]) == (start, share)], ("psnr_db", "core_seconds"))
        for start, share in groups
    ]


def validation(options: argparse.Namespace) -> tuple[list[tuple[ctuq.Scan, Tensor]], str, dict[str, Any]]:
    """Scans of KMNIST's first validation images with the images, what to start from, and how that came to be."""
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["validation"][: options.images] / 255.0
    pairs = [(simulate(image, index, ANGLES, NOISE)[0], torch.as_tensor(image)) for index, image in enumerate(images)]
    config = ctuq.load_config(CONFIG, overrides=[f"pretraining.noise={NOISE}"])
    return pairs, *educated("kmnist", pairs[0][0], config, options.weights)


def kmnist(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Curves of validation images; told anew after every image."""
    pairs, init, training = validation(options)
    setting = {"split": "validation", "angles": ANGLES, "noise": NOISE, "overrides": ONE_MEMBER}
    points: list[dict[str, Any]] = []
    for scan, truth in pairs:

        def psnr(found: Tensor, truth: Tensor = truth) -> float:
            return float(-10 * torch.log10((found.double() - truth).square().mean()))

        points += [{"image": scan.name, **point} for point in curves(scan, CONFIG, ONE_MEMBER, init, psnr, 0)]
        yield {"setting": setting, "pretraining": training, "mean": summed_up(points), "points": points}


def error_bars(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Scores of validation images; told anew after each."""
    pairs, init, training = validation(options)
    setting = {"split": "validation", "angles": ANGLES, "noise": NOISE}
    rows: list[dict[str, Any]] = []
    for scan, truth in pairs:
        for start, share in (("educated", 1 / 3), ("random", 1.0)):
            more = [init] if start == "educated" else []
            chosen = [*more, *of_share(ctuq.load_config(CONFIG), share)]
            rows.append({"image": scan.name, "start": start, "share": share, **scored(scan, truth, chosen)})
            print(rows[-1], flush=True)
            mean = [
                {"start": one} | means([row for row in rows if row["start"] == one], SCORES)
                for one in dict.fromkeys(row["start"] for row in rows)
            ]
            yield {"setting": setting, "pretraining": training, "mean": mean, "rows": rows}


def lotus(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Curves of the real scan; told anew after every seed."""
    case, size = CASES["lotus"], 64
    overrides = [f"grid.size={size}", f"scan.angle_step={case.angle_step}"]
    trained = [*overrides, "pretraining.images=500", "pretraining.steps=1500"]
    scan = case.scan()
    init, training = educated("lotus", scan, ctuq.load_config(None, overrides=trained), options.weights)
    grid = ImageGrid(shape=(size, size), pixel_mm=scan.geometry.field_of_view_mm / size)
    reference = area_average(*case.reference(), grid)

    def psnr(found: Tensor) -> float:
        return float(10 * torch.log10(reference.max().square() / (found - reference).square().mean()))

    points: list[dict[str, Any]] = []
    for seed in options.seeds:
        points += [{"seed": seed, **point} for point in curves(scan, None, overrides, init, psnr, seed)]
        yield {
            "setting": {"overrides": overrides},
            "pretraining": training,
            "mean": summed_up(points),
            "points": points,
        }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--images", type=int, default=4, help="of KMNIST")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1], help="of lotus")
    parser.add_argument("--weights", type=Path, default=Path("educated-weights"), help="folder of weights")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    options.weights.mkdir(exist_ok=True)
    for name in options.cases:
        for found in RUNS[name](options):
            print("written to", save(f"educated_start_{name}", found), flush=True)
        for row in found["mean"]:
            print(name, row)


RUNS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "kmnist": kmnist,
    "error_bars": error_bars,
    "lotus": lotus,
}

if __name__ == "__main__":
    main()
