"""Gaussian processes by the samplers of the posterior, against the exact ones and GPyTorch's; prints and writes JSON.

python -m tests.benchmarks.gp_sampling [--points 10000] [--methods cg gpytorch]      needs pip install 'ctuq[bench]'

Question: do the pathwise samplers that `dip` uses for images (conjugate gradients, sample-then-optimise with momentum,
stochastic dual descent) give the posterior of any Gaussian process, at what price, and what happens as the noise goes
to zero (arXiv 2306.11589, 2310.20581)? Two data sets; hyperparameters, known or learned, that all methods share:

matern     a Matérn-3/2 field of variance 1 and a length of 6 pixels on 128 x 128, seen at so many random pixels, with
           noise of every variance named; 128 others judge
diabetes   scikit-learn's: 10 standardised features of 442 patients, 342 train; length, variance, noise by the evidence

Every method gives the posterior mean by one column more, and the variance from 64 draws; "exact" has both by Cholesky.
RMSE and NLL (mean, nats) are of the noiseless field, or of the held-out measurements of the patients. "off" is the root
mean square distance of the mean from the exact mean in exact deviations, "spread" the mean variance over the exact one.
GPyTorch solves by its conjugate gradients for the mean and for the variance of every judge, to the residual that is
asked of our draws (its tolerance is relative to the data, ours to the noise; our mean, one column more of the draws'
block, is done when they are), with the same limit of iterations and a preconditioner of pivoted
Cholesky of rank 1000: with 100 its NLL at a noise of 1e-4 was 13, and with variances by LOVE of rank 100 it was 0.4
above the exact one. Seconds are of the processor. With `--methods`, what is saved of the others stays.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dip import (
    ConjugateGradientUpdate,
    MaternPrior,
    PathwiseUpdate,
    PosteriorSettings,
    RayCovariance,
    SampleThenOptimiseUpdate,
    StochasticDualDescentUpdate,
    WhitenedRays,
    covariance_root,
    log_evidence,
    maximise,
)
from dip.matern import matern_correlation
from operators import GaussianNoise, ImageGrid, LinearMap, MatrixMap
from operators.linear_map import batch_shape
from tests.benchmarks.environment import results, save

SETTINGS = PosteriorSettings(tolerance=0.02)
SIDE, LENGTH, SMOOTHNESS, JUDGES = 128, 6.0, 1.5, 128
DRAWS, BATCH, SWEEPS = 64, 65, 100
LENGTHS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
PATIENTS = 342
RANK_OTHERS = 1000
METHODS = ("cg", "sgd", "sdd", "gpytorch")


class Selection:
    """A: some of the values of an array, a `LinearMap` from `shape` to (n,)."""

    def __init__(self, index: Tensor, shape: tuple[int, ...]) -> None:
        self._index, self._shape = index, shape

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self._shape

    @property
    def out_shape(self) -> tuple[int]:
        """(n,)."""
        return (len(self._index),)

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, *shape) -> (*batch, n)."""
        batch = batch_shape(x, self._shape, "array")
        return x.reshape(*batch, -1)[..., self._index]

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, n) -> (*batch, *shape)."""
        batch = batch_shape(y, self.out_shape, "values")
        flat = y.new_zeros(*batch, math.prod(self._shape))
        flat[..., self._index] = y
        return flat.reshape(*batch, *self._shape)


@dataclass(frozen=True)
class Regression:
    """Values of a Gaussian process seen with noise, and others that judge.

    Args:
        points: of all values, (values, features) float64.
        factor: F with F Fᵀ the covariance of all values.
        seen: which are, (n,).
        data: with noise, (n,).
        judges: which are held out, (m,).
        truth: of these, (m,).
        length: of the Matérn-3/2 correlation.
        variance: of every value.
        noise: variance.
        judged_noise: of the truth.
    """

    points: Tensor
    factor: LinearMap
    seen: Tensor
    data: Tensor
    judges: Tensor
    truth: Tensor
    length: float
    variance: float
    noise: float
    judged_noise: float

    def covariance(self, first: Tensor, second: Tensor) -> Tensor:
        """Of some values with others."""
        return self.variance * correlation(self.points[first], self.points[second], self.length)

    def rays(self) -> WhitenedRays:
        """Φ of the values seen."""
        selection = Selection(self.seen, self.factor.out_shape)
        return WhitenedRays(selection, self.factor, GaussianNoise(self.noise), torch.float64)

    def scores(self, mean: Tensor, variance: Tensor) -> dict[str, float]:
        """Of predictions of the judges."""
        total, error = variance + self.judged_noise, self.truth - mean
        density = -0.5 * (error.square() / total + total.log() + math.log(2 * math.pi))
        return {"rmse": float(error.square().mean().sqrt()), "nll": -float(density.mean())}


def correlation(first: Tensor, second: Tensor, length: float) -> Tensor:
    """Of points (n, features) with points (m, features)."""
    return matern_correlation(torch.cdist(first, second), smoothness=SMOOTHNESS, length=length)


def matern_field(n: int, noise: float, *, seed: int) -> Regression:
    """The same field and pixels for every noise."""
    generator = torch.Generator().manual_seed(seed)
    factor = MaternPrior(ImageGrid(shape=(SIDE, SIDE)), smoothness=SMOOTHNESS, length_mm=LENGTH, variance=1.0)
    field = factor(torch.randn(factor.in_shape, generator=generator, dtype=torch.float64)).flatten()
    order = torch.randperm(SIDE**2, generator=generator)
    seen, judges = order[:n], order[n : n + JUDGES]
    errors = torch.randn(n, generator=generator, dtype=torch.float64)
    every = torch.arange(SIDE, dtype=torch.float64)
    return Regression(
        points=torch.cartesian_prod(every, every),
        factor=factor,
        seen=seen,
        data=field[seen] + math.sqrt(noise) * errors,
        judges=judges,
        truth=field[judges],
        length=LENGTH,
        variance=1.0,
        noise=noise,
        judged_noise=0.0,
    )


def patients(*, seed: int) -> Regression:
    """Hyperparameters by the evidence of those that train."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415 (an extra)

    found = load_diabetes()
    points, target = torch.as_tensor(found.data), torch.as_tensor(found.target)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
    seen, judges = order[:PATIENTS], order[PATIENTS:]
    points = (points - points[seen].mean(0)) / points[seen].std(0)
    target = (target - target[seen].mean()) / target[seen].std()
    learned = {}
    for length in LENGTHS:
        covariance = RayCovariance(
            {"signal": correlation(points[seen], points[seen], length)}, {"noise": torch.ones(PATIENTS).double()}
        )
        learned[length] = maximise(
            lambda variances, covariance=covariance: log_evidence(covariance, variances, target[seen]),  # type: ignore[misc]
            covariance.start(signal=0.5, noise=0.5),
        )
    length = max(learned, key=lambda length: learned[length].objective)
    variances = learned[length].variances
    return Regression(
        points=points,
        factor=MatrixMap(covariance_root(variances["signal"] * correlation(points, points, length))),
        seen=seen,
        data=target[seen],
        judges=judges,
        truth=target[judges],
        length=length,
        variance=variances["signal"],
        noise=variances["noise"],
        judged_noise=variances["noise"],
    )


def exact(problem: Regression) -> tuple[Tensor, Tensor]:
    """Mean and variance of the judges by Cholesky."""
    seen = problem.covariance(problem.seen, problem.seen)
    seen.diagonal().add_(problem.noise)
    factor, across = torch.linalg.cholesky(seen), problem.covariance(problem.seen, problem.judges)
    half = torch.linalg.solve_triangular(factor, across, upper=False)
    white = torch.linalg.solve_triangular(factor, problem.data[:, None], upper=False)
    return (half.mT @ white)[:, 0], problem.variance - half.square().sum(0)


def samplers(problem: Regression, limit: int = SETTINGS.max_iterations) -> dict[str, Callable[[], PathwiseUpdate]]:
    """With the settings of images, but for the most iterations, or sweeps, of which a hundred at most."""
    rays, tolerance = problem.rays(), SETTINGS.tolerance
    rank, generator = SETTINGS.preconditioner_rank, torch.Generator().manual_seed(0)

    def white() -> Tensor:
        covariance = problem.covariance(problem.seen, problem.seen).div_(problem.noise)
        covariance.diagonal().add_(1.0)
        return covariance

    return {
        "cg": lambda: ConjugateGradientUpdate(
            rays, tolerance=tolerance, iterations=limit, rank=rank, generator=generator
        ),
        "sgd": lambda: SampleThenOptimiseUpdate(
            rays, tolerance=tolerance, iterations=limit, rank=rank, generator=generator
        ),
        "sdd": lambda: StochasticDualDescentUpdate(
            rays, white(), tolerance=tolerance, sweeps=min(limit, SWEEPS), rank=rank, generator=generator
        ),
    }


def sampled(problem: Regression, make: Callable[[], PathwiseUpdate], *, seed: int) -> tuple[Tensor, Tensor, float]:
    """Mean and variance of the judges, and the worst residual of mean and draws.

    The mean is the update of u = 0 with the data in place of the noise.
    """
    update, generator = make(), torch.Generator().manual_seed(seed)
    rays = update.rays
    latent = torch.randn(DRAWS + 1, *rays.in_shape, generator=generator, dtype=torch.float64)
    noise = rays.noise.sample((DRAWS + 1, *rays.out_shape), generator=generator, dtype=torch.float64)
    latent[0], noise[0] = 0.0, problem.data
    found = [update(*part) for part in zip(torch.split(latent, BATCH), torch.split(noise, BATCH), strict=True)]
    values = torch.cat([part.images for part in found]).flatten(1)[:, problem.judges]
    residual = max(float(part.relative_residual.max()) for part in found)
    return values[0], values[1:].square().mean(0), residual


def by_gpytorch(problem: Regression, limit: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the judges by GPyTorch, float64."""
    import gpytorch  # noqa: PLC0415 (an extra)

    class Process(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self, inputs: Tensor, data: Tensor, likelihood: object) -> None:
            super().__init__(inputs, data, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=SMOOTHNESS))

        def forward(self, x: Tensor) -> object:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    constraint = gpytorch.constraints.GreaterThan(1e-9)
    likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=constraint).double()
    process = Process(problem.points[problem.seen], problem.data, likelihood).double()
    process.covar_module.base_kernel.lengthscale = problem.length
    process.covar_module.outputscale = problem.variance
    likelihood.noise = problem.noise
    process.eval()
    with (
        torch.no_grad(),
        gpytorch.settings.max_cholesky_size(0),
        gpytorch.settings.eval_cg_tolerance(
            SETTINGS.tolerance * math.sqrt(problem.noise / (problem.variance + problem.noise))
        ),
        gpytorch.settings.max_cg_iterations(limit),
        gpytorch.settings.max_preconditioner_size(RANK_OTHERS),
    ):
        found = process(problem.points[problem.judges])
        return found.mean, found.variance.clamp(min=1e-12)


def run(problem: Regression, limit: int, chosen: Sequence[str], saved: Mapping[str, Any]) -> dict[str, object]:
    """The methods chosen, on one problem, and the others as they were saved."""
    started = time.process_time()
    mean, variance = exact(problem)
    rows: dict[str, dict[str, object]] = {
        **saved.get("methods", {}),
        "exact": {**problem.scores(mean, variance), "seconds": time.process_time() - started},
    }
    methods: dict[str, Callable[[], tuple[Tensor, Tensor, float | None]]] = {
        name: lambda make=make: sampled(problem, make, seed=1)  # type: ignore[misc]
        for name, make in samplers(problem, limit).items()
    }
    methods["gpytorch"] = lambda: (*by_gpytorch(problem, limit), None)
    print("exact", rows["exact"], flush=True)
    for name in chosen:
        started = time.process_time()
        own, spread, residual = methods[name]()
        rows[name] = {
            **problem.scores(own, spread),
            "off": float(((own - mean) / variance.sqrt()).square().mean().sqrt()),
            "spread": float((spread / variance).mean()),
            "worst_residual": residual,
            "seconds": time.process_time() - started,
        }
        print(name, rows[name], flush=True)
    settings = {"length": problem.length, "variance": problem.variance, "noise": problem.noise}
    return {"points": len(problem.seen), "iterations": limit, "hyperparameters": settings, "methods": rows}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000, help=f"seen of the field's {SIDE**2}")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 1e-4, 1e-6], help="variances")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--iterations", type=int, default=300, help="of the solvers, at most")
    parser.add_argument("--name", default="gp_sampling", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    problems: dict[str, Callable[[], Regression]] = {"diabetes": lambda: patients(seed=0)}
    for noise in options.noise:
        problems[f"matern {noise:g}"] = lambda noise=noise: matern_field(options.points, noise, seed=0)  # type: ignore[misc]
    figures: dict[str, Any] = {}
    if set(options.methods) != set(METHODS):
        figures = {name: figure for name, figure in results(options.name).items() if name != "environment"}
    for name, pose in problems.items():
        print(name, flush=True)
        figures[name] = run(pose(), options.iterations, options.methods, figures.get(name, {}))
        if options.name != "none":
            print("written to", save(options.name, figures))


if __name__ == "__main__":
    main()
