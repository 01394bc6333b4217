"""Every sampler of the posterior on the same rays, against the dense posterior; prints a table and writes JSON.

python -m tests.benchmarks.samplers [--cases isotropic block ta] [--draws 128]

Two problems of KMNIST (the first validation image, 20 angles, 5 % noise, a prior of the weights: isotropic or block)
and a real scan (HTC 2022 ta, 30 views, 64 x 64 pixels, default settings). All samplers get the same draws from the
prior and of the noise, and the limits of the default settings. Those without a preconditioner draw 16 images only.

"rms z" is that of (variance − dense) / (dense · √(2/n)) over the pixels for n draws, expected to be 1 of a sampler
without bias; pixels err together, so it scatters. Sharper: "off", the root mean square over pixels of the difference
from the same draw by Cholesky, in posterior deviations. Seconds are of the processor, which a busy machine does not
change: run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ctuq
from dip import (
    CholeskyUpdate,
    ConjugateGradientUpdate,
    DensePosterior,
    NetworkPrior,
    PathwiseUpdate,
    PosteriorSettings,
    SampledPosterior,
    Samples,
    SampleThenOptimiseUpdate,
    StochasticDualDescentUpdate,
    WhitenedRays,
    covariance_root,
)
from operators import GaussianNoise, MatrixMap
from tests.benchmarks import kmnist, real
from tests.benchmarks.environment import SHARED_DATA, save

BATCH, DRAWS_WITHOUT = 16, 16
SETTINGS = PosteriorSettings(tolerance=0.02)
RANK = SETTINGS.preconditioner_rank
LIMIT_WITHOUT = 20_000
COMMON = ["posterior.method=cholesky", "posterior.n_samples=2", "posterior.kept_samples=2", f"posterior.batch={BATCH}"]


@dataclass(frozen=True)
class Problem:
    """What is to be sampled: the rays, the factor of I + ΦΦᵀ, and the image."""

    rays: WhitenedRays
    data_factor: Tensor
    mean: Tensor


def _simulated(kind: str) -> ctuq.Reconstruction:
    image = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["validation"][0] / 255.0
    scan, _ = kmnist.simulate(image, 0, 20, 0.05)
    # A tenth of the rays, enough where four members choose, lets the variance of one block run off: the signal is then
    # 1e5 times the noise, and beyond passes in float32.
    changes = [
        "fit.members=1",
        "holdout.fraction=0.125",
        f"prior.kind={kind}",
        "posterior.image_temperature=1",
        *COMMON,
    ]
    return ctuq.reconstruct(scan, ctuq.load_config(kmnist.CONFIG, overrides=changes))


def _measured() -> ctuq.Reconstruction:
    case = real.CASES["ta"]
    changes = ["grid.size=64", f"scan.angle_step={case.angle_step}", *COMMON]
    return ctuq.reconstruct(case.scan(), ctuq.load_config(None, overrides=changes))


CASES: dict[str, Callable[[], ctuq.Reconstruction]] = {
    "isotropic": lambda: _simulated("isotropic"),
    "block": lambda: _simulated("block"),
    "ta": _measured,
}


def pose(name: str) -> Problem:
    """Reconstruct, and take the posterior apart."""
    posterior = CASES[name]().posterior
    assert isinstance(posterior, SampledPosterior)
    update = posterior._update
    assert isinstance(update, CholeskyUpdate)
    return Problem(update.rays, update._data_factor, posterior.mean)


def samplers(problem: Problem) -> dict[str, Callable[[], PathwiseUpdate]]:
    """By name; "without": no preconditioner."""
    rays, tolerance, limit = problem.rays, SETTINGS.tolerance, SETTINGS.max_iterations
    white = problem.data_factor @ problem.data_factor.mT
    generator = torch.Generator().manual_seed(0)

    def cg(rank: int) -> PathwiseUpdate:
        return ConjugateGradientUpdate(
            rays, tolerance=tolerance, iterations=limit, rank=rank, generator=generator, batch=BATCH
        )

    def sgd(rank: int) -> PathwiseUpdate:
        return SampleThenOptimiseUpdate(
            rays, tolerance=tolerance, iterations=limit, rank=rank, generator=generator, batch=BATCH
        )

    def sdd(rank: int) -> PathwiseUpdate:
        return StochasticDualDescentUpdate(
            rays, white, tolerance=tolerance, sweeps=limit, rank=rank, generator=generator
        )

    return {
        "cholesky": lambda: CholeskyUpdate(rays, torch.linalg.cholesky(white), tolerance=tolerance),
        "cg": lambda: cg(RANK),
        "sgd": lambda: sgd(RANK),
        "sdd": lambda: sdd(RANK),
        "cg without": lambda: cg(0),
        "sgd without": lambda: sgd(0),
        "sdd without": lambda: sdd(0),
    }


def exactly(problem: Problem, n: int) -> tuple[dict[str, float], Tensor]:
    """Figures of the dense posterior, and its variance."""
    prior = problem.rays.factor
    assert isinstance(prior, NetworkPrior)
    started = time.process_time()
    root = covariance_root(prior.covariance())
    posterior = DensePosterior(problem.rays.transform, root, noise=problem.rays.noise, mean=problem.mean)
    set_up, started = time.process_time() - started, time.process_time()
    posterior.sample(n, generator=torch.Generator().manual_seed(1))
    seconds = (time.process_time() - started) / n
    figures = {"draws": n, "set_up_seconds": set_up, "seconds_a_draw": seconds}
    return figures, posterior.variance().variance


def sample(problem: Problem, make: Callable[[], PathwiseUpdate], n: int) -> tuple[dict[str, object], Samples]:
    """Figures of a sampler that need no comparison, and its draws."""
    started = time.process_time()
    posterior = SampledPosterior(make(), mean=problem.mean, n_samples=n, block=BATCH)
    set_up, started = time.process_time() - started, time.process_time()
    samples = posterior.sample(n, generator=torch.Generator().manual_seed(1))
    seconds = (time.process_time() - started) / n
    return {
        "draws": n,
        "passes_a_draw": samples.passes,
        "worst_residual": float(samples.relative_residual.max()),
        "converged": samples.converged,
        "set_up_seconds": set_up,
        "seconds_a_draw": seconds,
    }, samples


def compare(samples: Samples, problem: Problem, exact: Tensor, by_cholesky: Samples) -> dict[str, float]:
    """How far variances are from the dense ones, and draws from Cholesky's."""
    n = len(samples.images)
    variance = (samples.images - problem.mean).double().square().mean(dim=0)
    scores = (variance / exact - 1) / math.sqrt(2 / n)
    off = (samples.images - by_cholesky.images[:n]).double() / exact.sqrt()
    return {
        "rms_z": float(scores.square().mean().sqrt()),
        "largest_z": float(scores.abs().max()),
        "off": float(off.square().mean().sqrt()),
    }


def steps_without(problem: Problem) -> dict[str, int | None]:
    """Steps to the tolerance without a preconditioner, None if beyond a limit; with a matrix in place of the passes.

    Φ is the Cholesky factor of ΦΦᵀ: as far as the rays can tell, the same.
    """
    signal = problem.data_factor @ problem.data_factor.mT
    signal.diagonal().sub_(1.0)
    n = len(signal)
    unit = torch.eye(n, dtype=torch.float64)
    rays = WhitenedRays(MatrixMap(unit), MatrixMap(covariance_root(signal)), GaussianNoise(1.0), torch.float64)
    found: dict[str, int | None] = {}
    kinds: dict[str, Any] = {"cg": ConjugateGradientUpdate, "sgd": SampleThenOptimiseUpdate}
    for name, kind in kinds.items():
        generator = torch.Generator().manual_seed(0)
        update = kind(rays, tolerance=SETTINGS.tolerance, iterations=LIMIT_WITHOUT, rank=0, generator=generator)
        samples = SampledPosterior(update, mean=torch.zeros(n, dtype=torch.float64), block=8).sample(
            8, generator=torch.Generator().manual_seed(1)
        )
        found[name] = (samples.passes - 3) // 2 if samples.converged else None
    return found


def run(name: str, n: int) -> dict[str, object]:
    """All samplers on one problem."""
    problem = pose(name)
    dense, exact = exactly(problem, n)
    rows: dict[str, Mapping[str, object]] = {"dense": dense}
    print(name, "dense", dense, flush=True)
    by_cholesky: Samples | None = None
    for sampler, make in samplers(problem).items():
        figures, drawn = sample(problem, make, DRAWS_WITHOUT if sampler.endswith("without") else n)
        by_cholesky = by_cholesky or drawn
        rows[sampler] = figures | compare(drawn, problem, exact, by_cholesky)
        print(name, sampler, rows[sampler], flush=True)
    factor = problem.data_factor
    return {
        "pixels": problem.mean.numel(),
        "rays": len(factor),
        "largest_eigenvalue": float(torch.linalg.eigvalsh(factor @ factor.mT)[-1]),
        "steps_without_preconditioner": steps_without(problem),
        "samplers": rows,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--draws", type=int, default=128)
    parser.add_argument("--name", default="samplers", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    cases = {name: run(name, options.draws) for name in options.cases}
    if options.name != "none":
        settings = {"tolerance": SETTINGS.tolerance, "max_iterations": SETTINGS.max_iterations, "rank": RANK}
        print("written to", save(options.name, {"settings": settings, "cases": cases}))


if __name__ == "__main__":
    main()
