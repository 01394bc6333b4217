"""What the fit's rules of thumb rest on: attempts given up half way, refits that settle, and draws that are solved for.

python -m tests.benchmarks.fit_choices [--size 32] [--seeds 300 301]

Random ellipses, projected on finer pixels, that no other benchmark reports on. (1) Both TV weights are run to their
end: by how much does one lag at a third, half way and at the end, as a ratio of mean squares at the choosing rays?
(2) Refits of fewer and fewer steps: `refit_misfit`, and by how much the image's mean is off. (3) Deviations by the same
draws, solved for to several tolerances.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from torch import Tensor

import ctuq
from ctuq.config import Config, load_config
from ctuq.ellipses import random_ellipses
from ctuq.preparation import prepare
from ctuq.preprocessing import preprocess
from ctuq.problem import Problem, fit_networks, pose
from ctuq.stage_watch import StageWatch
from dip import Fit, FitSettings
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.benchmarks.environment import save

SETTINGS = ((20, 0.05), (60, 0.05), (60, 0.01))  # views, and noise as a share of the mean line integral
REFIT_STEPS = (250, 100, 50, 20, 5)
TOLERANCES = (0.001, 0.02, 0.05, 0.1)


def scan_of(seed: int, size: int, views: int, noise: float) -> tuple[ctuq.Scan, Tensor]:
    """A noisy scan, and the truth on its pixels."""
    rng = np.random.default_rng(seed)
    fine = torch.tensor(random_ellipses(2 * size, rng=rng))
    angles = [math.pi * view / views for view in range(views)]
    grid = ImageGrid(shape=(2 * size, 2 * size), pixel_mm=0.5)
    finer = ParallelBeam(grid=grid, angles_rad=angles, n_detectors=2 * size, pitch_mm=0.5)
    clean = RayTransform(finer)(fine).reshape(views, size, 2).mean(-1)
    noisy = clean + noise * clean.abs().mean() * torch.tensor(rng.standard_normal(clean.shape))
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(size, size), pixel_mm=1.0), angles_rad=angles, n_detectors=size, pitch_mm=1.0
    )
    truth = torch.nn.functional.avg_pool2d(fine[None, None], 2)[0, 0]
    return ctuq.Scan(noisy.float().numpy(), geometry, name=f"ellipses {seed} {views} {noise}"), truth


def posed(scan: ctuq.Scan, config: Config) -> Problem:
    """The scan as a problem."""
    return pose(prepare(preprocess(scan, config.preprocessing), config), config, 0, "cpu")


def fitted(scan: ctuq.Scan, *overrides: str) -> tuple[Problem, Fit]:
    """The fit of a scan."""
    config = load_config(None, overrides=overrides)
    problem = posed(scan, config)
    return problem, fit_networks(problem, config, StageWatch(None))


def lags(scan: ctuq.Scan) -> dict[str, list[float]]:
    """Of each TV weight, its best mean square at the choosing rays so far, by that of the best of all."""
    problem = posed(scan, load_config(None))
    seen = torch.where(problem.holdout.judges, 0.0, torch.ones_like(problem.data))
    weights = [weight for weight, _ in FitSettings().attempts(problem.data, seen, noise_stated=False)]
    found = [fitted(scan, f"fit.tv_weights=[{weight}]", "fit.refit_steps=0")[1] for weight in weights]
    bests = [one.holdout_loss.square().cummin(0).values for one in found]
    at = {name: round(share * len(bests[0])) - 1 for name, share in (("third", 1 / 3), ("half", 0.5), ("end", 1.0))}
    return {
        name: [float(best[look] / min(float(other[look]) for other in bests)) for best in bests]
        for name, look in at.items()
    }


def refits(scan: ctuq.Scan, truth: Tensor) -> list[dict[str, float]]:
    """Of every number of steps, what the refit left of the rays and how far the image's mean is off."""
    rows = []
    for steps in REFIT_STEPS:
        problem, found = fitted(scan, f"fit.refit_steps={steps}")
        mean_error = float(found.full_image.double().mean() * problem.scale / truth.mean()) - 1
        rows.append({"steps": steps, "refit_misfit": found.refit_misfit, "relative_error_of_mean": mean_error})
    return rows


def tolerances(scan: ctuq.Scan) -> list[dict[str, float]]:
    """Of every tolerance, deviations by those of the smallest, from the same draws."""
    stds = {}
    for tolerance in TOLERANCES:
        overrides = ["posterior.method=cg", f"posterior.tolerance={tolerance}"]
        stds[tolerance] = ctuq.reconstruct(scan, load_config(None, overrides=overrides)).std.double()
    ratios = {tolerance: std / stds[TOLERANCES[0]] for tolerance, std in stds.items()}
    return [
        {"tolerance": tolerance, "mean_ratio": float(ratio.mean()), "scatter_of_ratio": float(ratio.std())}
        for tolerance, ratio in ratios.items()
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[300, 301])
    parser.add_argument("--name", default="fit_choices", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    scans = []
    for seed in options.seeds:
        for views, noise in SETTINGS:
            scan, truth = scan_of(seed, options.size, views, noise)
            row = {"seed": seed, "views": views, "noise": noise, "lags": lags(scan)}
            if seed == options.seeds[0] and views > SETTINGS[0][0]:
                row["refits"] = refits(scan, truth)
            print(row, flush=True)
            scans.append(row)
    scan, _ = scan_of(options.seeds[0], options.size + options.size // 2, *SETTINGS[1])
    solved = tolerances(scan)  # an image too large for a dense posterior
    print(solved)
    if options.name != "none":
        found = {"size": options.size, "scans": scans, "tolerances": solved}
        print("written to", save(options.name, found))


if __name__ == "__main__":
    main()
