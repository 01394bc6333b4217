"""Line integrals and variances from simulated Poisson counts: is the whitened residual white? Writes JSON.

python -m tests.benchmarks.counts_noise

The whitened residual is (line integral − truth)/√variance, of all rays that are not masked. Its mean square should be 1
and its mean 0; the mean of all rays weighted by 1/variance should be as far off as its own deviation says. Noise, flats
and darks are drawn anew 40 times, and the standard errors are over those, so that what columns share is in them. Beside
`ctuq.transmission` stands the naive way: −log(n/F), variance 1/n + 1/F.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctuq.masked_rays import MASKED_FROM
from ctuq.phantoms import phantom
from ctuq.simulation import absorbing, counted
from ctuq.transmission import line_integrals
from operators import ImageGrid, ParallelBeam
from tests.benchmarks.environment import save

PHOTONS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)  # a ray before the object
N_DRAWS = 40
N_FLATS, N_DARKS, DARK_LEVEL = 20, 20, 5.0
ABSORPTION = 2.3  # a tenth of the photons, in the worst ray
SCANS = {
    "shepp-logan, 30 views": ("shepp-logan", 30, 91),
    "shepp-logan, 180 views": ("shepp-logan", 180, 128),
    "rectangles, 60 views": ("rectangles", 60, 128),
}

Array = NDArray[np.float64]


def truth(name: str, n_views: int, n_detectors: int) -> Array:
    """(angle, detector) line integrals up to `ABSORPTION`."""
    size = 2 * n_detectors
    grid = ImageGrid(shape=(size, size), pixel_mm=n_detectors / size / math.sqrt(2))
    angles = np.linspace(0, math.pi, n_views, endpoint=False)
    geometry = ParallelBeam(grid=grid, angles_rad=angles, n_detectors=n_detectors)
    return absorbing(phantom(name, size, rng=np.random.default_rng(3)), geometry, ABSORPTION)[1]


def judged(values: Array, variance: Array, expected: Array, known: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean square and mean of the whitened residual, and the weighted mean of all rays over its own deviation."""
    z = ((values - expected) / np.sqrt(variance))[known]
    weights = 1 / variance[known]
    return float((z**2).mean()), float(z.mean()), float((z * np.sqrt(weights)).sum() / math.sqrt(weights.sum()))


def run(expected: Array, photons: float) -> dict[str, float]:
    """Both ways, over all draws."""
    ours, naive, masked, fewest = [], [], 0, math.inf
    for seed in range(N_DRAWS):
        drawn = counted(
            expected,
            photons=photons,
            n_flats=N_FLATS,
            n_darks=N_DARKS,
            dark_level=DARK_LEVEL,
            rng=np.random.default_rng(seed),
        )
        found = line_integrals(drawn.counts, drawn.flats, drawn.darks)
        known = found.variance < MASKED_FROM / (1 / found.variance).mean()
        ours.append(judged(found.line_integrals, found.variance, expected, known))
        dark = drawn.darks.mean(axis=0)
        signal, open_beam = np.maximum(drawn.counts - dark, 1.0), drawn.flats.mean(axis=0) - dark
        variance = 1 / signal + 1 / (N_FLATS * open_beam)
        naive.append(judged(-np.log(signal / open_beam), variance, expected, known))
        masked += int((~known).sum())
        fewest = min(fewest, float((photons * np.exp(-expected)).min()))
    figures: dict[str, float] = {"fewest_expected_photons": fewest, "masked_share": masked / N_DRAWS / expected.size}
    for way, rows in (("ctuq", np.array(ours)), ("naive", np.array(naive))):
        for name, column in zip(("variance", "mean", "weighted_mean_over_deviation"), rows.T, strict=True):
            figures[f"{way}_{name}"] = float(column.mean())
            figures[f"{way}_{name}_standard_error"] = float(column.std(ddof=1) / math.sqrt(N_DRAWS))
    return figures


def main() -> None:
    """Run the command line."""
    figures: dict[str, object] = {
        "settings": {
            "n_draws": N_DRAWS,
            "n_flats": N_FLATS,
            "n_darks": N_DARKS,
            "dark_level": DARK_LEVEL,
            "absorption": ABSORPTION,
        }
    }
    for name, scan in SCANS.items():
        expected = truth(*scan)
        figures[name] = rows = {str(photons): run(expected, photons) for photons in PHOTONS}
        for photons, row in rows.items():
            print(name, photons, {key: float(f"{value:.4g}") for key, value in row.items()}, flush=True)
    save("counts_noise", figures)


if __name__ == "__main__":
    main()
