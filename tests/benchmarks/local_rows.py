"""What a ray's row of A J takes, at the positions that it reaches or at all, and how near products are to their bound.

python -m tests.benchmarks.local_rows [--sizes 64 96 128 256]

Parallel beam, 60 views, the default network at its initial weights: what is timed depends on shapes alone. Neighbouring
rays of three views, both ways in alternation, medians. Then products of all positions with J and its transpose, as
FLOP a second, beside a plain product of matrices in float32; and A A^T of the rays of eleven views, by sparse matrices
and by products with A and its transpose.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from ctuq.cost import gflop_of_a_pass
from ctuq.memory_reuse import keep_freed_memory
from dip import NetworkJacobian, UNet, UNetSettings, ray_jacobian
from dip.gram import pixel_gram_matrix
from operators import GramMap, ImageGrid, ParallelBeam, RayTransform
from tests.benchmarks.environment import save

VIEWS, TIMED_VIEWS, RAYS = 60, (0, 7, 15), 32
GRAM_VIEWS = 11
REPEATS = 5


def seconds(*ways: Callable[[], object]) -> list[float]:
    """Median of each, taken in turns after one that does not count."""
    taken: list[list[float]] = [[] for _ in ways]
    for repeat in range(REPEATS + 1):
        for way, kept in zip(ways, taken, strict=True):
            began = time.perf_counter()
            way()
            if repeat:
                kept.append(time.perf_counter() - began)
    return [median(kept) for kept in taken]


def problem(size: int) -> tuple[RayTransform, NetworkJacobian, NetworkJacobian]:
    """The rays, and the Jacobian that may leave out positions and the same that may not."""
    angles = [math.pi * view / VIEWS for view in range(VIEWS)]
    beam = ParallelBeam(grid=ImageGrid(shape=(size, size)), angles_rad=angles, n_detectors=size, pitch_mm=1.0)
    generator = torch.Generator().manual_seed(0)
    network = UNet(UNetSettings(), generator=generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given = torch.randn(1, 1, size, size, generator=generator)
    local, dense = (NetworkJacobian(network, given) for _ in range(2))
    dense._local = None
    return RayTransform(beam), local, dense


def rows(size: int) -> dict[str, float]:
    """Seconds a row, and whether the size makes the Jacobian leave out positions by itself."""
    transform, local, dense = problem(size)
    first = [view * size + size // 4 for view in TIMED_VIEWS]
    rays = torch.cat([torch.arange(start, start + min(RAYS, size // 2)) for start in first])
    chosen = local._local
    assert chosen is not None
    pays = chosen._pays
    vars(chosen)["_pays"] = True  # what is measured is whether it would
    found: dict[str, Tensor] = {}

    def taken(name: str, jacobian: NetworkJacobian) -> None:
        found[name] = ray_jacobian(jacobian, transform, rays)

    reached, every = seconds(lambda: taken("reached", local), lambda: taken("every", dense))
    return {
        "chosen": float(pays),
        "seconds_at_reached_positions": reached / len(rays),
        "seconds_at_all_positions": every / len(rays),
        "ratio": reached / every,
        "relative_difference": float((found["reached"] - found["every"]).norm() / found["every"].norm()),
    }


def products(size: int) -> dict[str, float]:
    """FLOP a second of products with J and its transpose at all positions, and of a product of matrices."""
    _, _, jacobian = problem(size)
    a_pass = gflop_of_a_pass(UNet(UNetSettings(), generator=torch.Generator()), (size, size))
    flop = 8 * 2e9 * a_pass
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(8, *jacobian.in_shape, generator=generator)
    images = torch.randn(8, size, size, generator=generator)
    square = torch.randn(2048, 2048, generator=generator)
    forward, back, plain = seconds(lambda: jacobian(weights), lambda: jacobian.adjoint(images), lambda: square @ square)
    return {"jacobian": flop / forward, "transpose": flop / back, "matrices": 2 * 2048**3 / plain}


def pixels_gram(size: int) -> dict[str, float]:
    """Seconds for A A^T of some views' rays, by sparse matrices; by products, of one view, times so many."""
    transform, _, _ = problem(size)
    views = torch.linspace(0, VIEWS - 1, GRAM_VIEWS).round().long()
    rays = (views[:, None] * size + torch.arange(size)).flatten()
    unit = torch.eye(size, dtype=torch.float64).reshape(size, 1, size)
    one_view = torch.nn.functional.pad(unit, (0, 0, 0, VIEWS - 1))
    gram = GramMap(transform)
    sparse, by_products = seconds(
        lambda: pixel_gram_matrix(transform, rays), lambda: [gram(part) for part in torch.split(one_view, 64)]
    )
    return {"rays": len(rays), "seconds_sparse": sparse, "seconds_by_products": by_products * GRAM_VIEWS}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128, 256], help="pixels a side")
    parser.add_argument("--name", default="local_rows", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_flush_denormal(True)  # both as the command line does
    found: dict[str, object] = {"views": VIEWS, "rows": {str(size): rows(size) for size in options.sizes}}
    largest = max(options.sizes)
    found |= {"largest": largest, "flop_per_second": products(largest), "pixels": pixels_gram(largest)}
    print(found)
    if options.name != "none":
        print("written to", save(options.name, found))


if __name__ == "__main__":
    main()
