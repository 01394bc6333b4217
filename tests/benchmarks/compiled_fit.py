"""A step of the fit as it is, compiled by torch, in bfloat16 and in other memory layouts: seconds and losses.

python -m tests.benchmarks.compiled_fit [--sizes 64 128 256] [--repeats 15]      needs a C++ compiler, for torch.compile

Question: would `torch.compile` pay in the fit, and do bfloat16 and channels last in memory? The default network and a
parallel beam of 30 views; a step is a pass, its gradient and Adam's update. The variants take turns, so that all meet
the machine as it is at the time; medians. Compiling itself is timed apart: it is paid once a shape.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ctuq.config import load_config
from dip import UNet
from dip.fit import has_bfloat16_units
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.benchmarks.environment import save

VARIANTS = ("as it is", "compiled", "bfloat16", "compiled, bfloat16", "channels last")


def stepper(size: int, variant: str) -> Callable[[], float]:
    """One step of Adam; returns the loss."""
    grid = ImageGrid(shape=(size, size))
    rays = RayTransform(ParallelBeam(grid=grid, angles_rad=[0.1 * view for view in range(30)], n_detectors=size))
    generator = torch.Generator().manual_seed(0)
    # In bfloat16 the fit has channels last, in float32 it has not.
    last = "bfloat16" in variant or variant == "channels last"
    layout = torch.channels_last if last else torch.contiguous_format
    network = UNet(load_config(None).network, generator=generator).to(memory_format=layout)  # type: ignore[call-overload]
    given = torch.randn(1, 1, size, size, generator=generator)
    data = rays(given[0, 0])
    passed = torch.compile(network) if "compiled" in variant else network
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in variant):
            image = passed(given)
        loss = (rays(image[0, 0].float()) - data).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss)

    return step


def compared(size: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of a step by variant, of the first one apart, and the loss after the last."""
    steps = {variant: stepper(size, variant) for variant in VARIANTS}
    first, taken = dict.fromkeys(VARIANTS, 0.0), {variant: [0.0] * repeats for variant in VARIANTS}
    loss = dict.fromkeys(VARIANTS, 0.0)
    for variant, step in steps.items():
        started = time.perf_counter()
        step()
        first[variant] = time.perf_counter() - started
    for turn in range(repeats):
        for variant, step in steps.items():
            started = time.perf_counter()
            loss[variant] = step()
            taken[variant][turn] = time.perf_counter() - started
    usual = statistics.median(taken["as it is"])
    return {
        variant: {
            "seconds": statistics.median(seconds),
            "of_the_usual": statistics.median(seconds) / usual,
            "first_seconds": first[variant],
            "loss": loss[variant],
        }
        for variant, seconds in taken.items()
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--name", default="compiled_fit", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    figures: dict[str, object] = {"bfloat16_units": has_bfloat16_units(torch.device("cpu"))}
    for size in options.sizes:
        torch.compiler.reset()
        figures[str(size)] = compared(size, options.repeats)
        print(size, figures[str(size)], flush=True)
    if options.name != "none":
        print("written to", save(options.name, figures))


if __name__ == "__main__":
    main()
