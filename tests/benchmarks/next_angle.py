"""Time choosing one more angle out of 200 at 128 x 128 pixels, after the first; writes JSON.

python -m tests.benchmarks.next_angle [--steps 5] [--draws 1000]

The time depends on the sizes alone, so that the draws are of a field with an exponential covariance along each axis,
not of a network. Beside other jobs (`load`) the processor's seconds are the ones to look at.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time

import torch
from torch import Tensor

from ctuq.criteria import CRITERIA
from design import Candidates, CandidateViews, GreedySelection, drawn_covariance
from operators import GaussianNoise, ImageGrid, ParallelBeam
from tests.benchmarks.environment import save

SIZE, N_CANDIDATES, N_DETECTORS = 128, 200, 128


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="angles that are timed, for each criterion")
    parser.add_argument("--draws", type=int, default=1000, help="behind the covariance")
    options = parser.parse_args()
    views = _views(options.draws)
    setting = {"size": SIZE, "candidates": N_CANDIDATES, "detectors": N_DETECTORS, "draws": options.draws}
    load = os.getloadavg()[0]
    figures = {name: _timed(views, name, options.steps) for name in CRITERIA}
    save("next_angle", {"setting": setting, "load": load, "seconds": figures})
    print(json.dumps(figures, indent=1))


def _views(n_draws: int) -> CandidateViews:
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(SIZE, dtype=torch.float64)
    root = torch.linalg.cholesky(torch.exp(-(places[:, None] - places).abs() / 16)).float()
    images: Tensor = root @ torch.randn(n_draws, SIZE, SIZE, generator=generator) @ root.mT
    angles = tuple(view * math.pi / N_CANDIDATES for view in range(N_CANDIDATES))
    grid = ImageGrid(shape=(SIZE, SIZE))
    candidates = Candidates(ParallelBeam(grid=grid, angles_rad=angles, n_detectors=N_DETECTORS))
    return CandidateViews(drawn_covariance(images, torch.zeros(SIZE, SIZE)), candidates, GaussianNoise(100.0))


def _timed(views: CandidateViews, criterion: str, n_steps: int) -> dict[str, float]:
    """Seconds by the clock and of the processor for one more angle: medians, and the longest by the clock."""
    selection = GreedySelection(criterion=CRITERIA[criterion].criterion)
    plan = selection(views, 1)
    clock, processor = [], []
    taken = plan.angles_rad.tolist()
    for _ in range(n_steps):
        began, began_processor = time.perf_counter(), time.process_time()
        plan = selection(plan.views, 1, taken_rad=taken)
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
        taken += plan.angles_rad.tolist()
    return {
        "median": statistics.median(clock),
        "longest": max(clock),
        "processor_median": statistics.median(processor),
        "draws_left": plan.views.draws_left,
    }


if __name__ == "__main__":
    main()
