"""The views of `replay_real`, reconstructed without a network: is it the views that decide, or the fit? Writes JSON.

python -m tests.benchmarks.replay_views [--size 128]

Conjugate gradients on the least squares of the rays, stopped where the image is nearest to the reference: no draw of
random numbers, no held-out rays and no choice of settings is in it, so that two orders differ by their views alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

import torch

from ctuq.likeness import psnr
from ctuq.preparation import prepare
from operators import RayTransform, cgls
from tests.benchmarks.acquisitions import Acquisition
from tests.benchmarks.environment import results, save
from tests.benchmarks.replay_real import POINTS, acquisition_of

MOST_ITERATIONS: Final = 60


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, seeds in results(f"replay_real_{options.size}")["curves"].items():
        acquisition = acquisition_of(name, options.size, 0)
        for seed, orders in seeds.items():
            rows = {
                order: {str(n): best_psnr(acquisition, row["views"][:n]) for n in POINTS}
                for order, row in orders.items()
            }
            found.setdefault(name, {})[seed] = {"psnr_db": rows, "planned ahead": ahead(rows)}
            print(name, seed, {n: round(value, 2) for n, value in ahead(rows).items()}, flush=True)
    print(save(f"replay_views_{options.size}", {"most_iterations": MOST_ITERATIONS, "scans": found}))


def best_psnr(acquisition: Acquisition, views: Sequence[int]) -> float:
    """Of the iterate that is nearest to the reference, dB."""
    measured = prepare(acquisition.scan.select(sorted(views)), acquisition.config)
    transform, rays = RayTransform(measured.geometry), measured.sinogram
    inside = (
        acquisition.inside if acquisition.inside is not None else torch.ones_like(acquisition.truth, dtype=torch.bool)
    )
    return max(
        psnr(cgls(transform, rays, iterations=n).value[inside], acquisition.truth[inside])
        for n in (*range(2, 20), *range(20, MOST_ITERATIONS + 1, 4))
    )


def ahead(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Planned less the better of the others, dB, by number of views; nothing where no plan was made."""
    if "planned" not in rows:
        return {}
    return {
        n: value - max(rows[order][n] for order in rows if order != "planned") for n, value in rows["planned"].items()
    }


if __name__ == "__main__":
    main()
