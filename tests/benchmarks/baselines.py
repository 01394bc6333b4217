"""What KMNIST's images get from other methods, in all settings; writes JSON.

python -m tests.benchmarks.baselines [--methods matern mc_dropout ensemble] [--images 3]

Matérn: Gaussian-process regression. MC dropout: 2,000 passes. Ensemble: five of our fits. The joint log-likelihood is
given of mean and covariance as they are, and of the covariance's diagonal alone; "tuned" with one factor and one extra
variance of all pixels, chosen on the validation images for all settings at once, as ctuq's temperature was; "best" with
those that the truth would choose for every image. A method's figures join those of the others in
results/baselines.json; ctuq's own are kmnist.py's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import ctuq
from tests.benchmarks.deep_ensemble import member_images
from tests.benchmarks.environment import SHARED_DATA
from tests.benchmarks.joint_likelihood import Spectrum, best_inflation
from tests.benchmarks.kmnist import FLOOR, score_errors, simulate
from tests.benchmarks.matern_regression import matern_posterior
from tests.benchmarks.mc_dropout import dropout_images
from tests.benchmarks.setting_rows import merge_row

SETTINGS = tuple(itertools.product((5, 10, 20, 30), (0.05, 0.1)))  # angles, noise
Moments = tuple[Tensor, Tensor]  # mean (row, col) and covariance (row · col, the same), float64
Inflations = Mapping[str, Mapping[str, float]]


def sample_moments(images: Tensor) -> Moments:
    """Of (n, row, col)."""
    return images.mean(dim=0), torch.cov(images.flatten(1).mT)


def _matern(scan: ctuq.Scan, _: torch.Generator) -> Moments:
    posterior = matern_posterior(scan)
    return posterior.mean, posterior.covariance()


METHODS: dict[str, Callable[[ctuq.Scan, torch.Generator], Moments]] = {
    "matern": _matern,
    "mc_dropout": lambda scan, generator: sample_moments(dropout_images(scan, generator=generator)),
    "ensemble": lambda scan, generator: sample_moments(member_images(scan, generator=generator)),
}


@dataclass(frozen=True)
class Outcome:
    """One method's error (row, col) and covariance of one image, and the seconds of one core that they took."""

    error: Tensor
    covariance: Tensor
    seconds: float

    @classmethod
    def of(cls, method: str, image: np.ndarray, index: int, n_angles: int, level: float) -> Outcome:
        """Simulate the scan and run the method."""
        scan, _ = simulate(image, index, n_angles, level)
        started = time.process_time()  # cores may be shared
        mean, covariance = METHODS[method](scan, torch.Generator().manual_seed(index))
        return cls(torch.as_tensor(image) - mean, covariance, time.process_time() - started)

    def spectra(self) -> dict[str, Spectrum]:
        """Of the covariance, "joint", and of its diagonal, "diagonal"."""
        return {
            "joint": Spectrum.of(self.error, self.covariance),
            "diagonal": Spectrum.of_diagonal(self.error, self.covariance),
        }

    def scores(self, tuned: Inflations) -> dict[str, float]:
        """Every figure."""
        found = {
            "psnr_db": float(-10 * torch.log10(self.error.square().mean())),
            **score_errors(self.error, self.covariance),
            "seconds": self.seconds,
        }
        for kind, spectrum in self.spectra().items():
            best = best_inflation([spectrum], floor=FLOOR)
            found[f"{kind}_log_likelihood"] = spectrum.log_likelihood(floor=FLOOR)
            found[f"tuned_{kind}_log_likelihood"] = spectrum.log_likelihood(**tuned[kind], floor=FLOOR)
            found[f"best_{kind}_log_likelihood"] = spectrum.log_likelihood(**best, floor=FLOOR)
        return found


def tune(method: str, images: Sequence[np.ndarray]) -> Inflations:
    """Factor and extra variance for all settings, for the covariance and for its diagonal."""
    spectra = [
        Outcome.of(method, image, index, *setting).spectra()
        for setting in SETTINGS
        for index, image in enumerate(images)
    ]
    return {kind: best_inflation([one[kind] for one in spectra], floor=FLOOR) for kind in spectra[0]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", choices=METHODS, nargs="*", default=list(METHODS))
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    data = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")
    test, validation = (data[split][: options.images] / 255.0 for split in ("test", "validation"))
    for method in options.methods:
        tuned = tune(method, validation)
        print(method, "on validation images", tuned, flush=True)
        for n_angles, level in SETTINGS:
            rows = [Outcome.of(method, image, index, n_angles, level).scores(tuned) for index, image in enumerate(test)]
            mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
            shown = {
                key: round(mean[key], 2) for key in mean if "joint" in key or "diagonal" in key or key == "psnr_db"
            }
            print(method, n_angles, level, shown, flush=True)
            found = {"angles": n_angles, "noise": level, method: {"tuned": tuned, "mean": mean, "images": rows}}
            merge_row("baselines", found, floor=FLOOR)


if __name__ == "__main__":
    main()
