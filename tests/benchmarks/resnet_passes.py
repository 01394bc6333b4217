"""Memory and speed of everything that inference needs on a ResNet-18; prints and writes JSON.

python -m tests.benchmarks.resnet_passes [--device cuda] [--inputs 4] [--batch 3] [--channels 64] [--images FILE.npz]

Question: do the Jacobian, the scale of the g-prior and EM work at the size of networks that people use, and what does
a pass cost? A ResNet-18 for 32 x 32 images with random weights; with `--images`, a file with `images` (n, 3, 32, 32) of
0 to 255 and `labels` (n,), after `--steps` steps of training on all but the first `--inputs` of them. Otherwise images
are noise and labels are drawn. A pass is one product of J of all inputs with one vector, or of its transpose, and
passes are taken `--batch` at a time.

On a CPU seconds are of the processor: run it with OMP_NUM_THREADS=1, and they are those of one core.

"peak": largest memory of the process, or what torch allocated on the GPU; "forward": seconds of one forward pass of the
inputs; "jvp" and "vjp": passes per second; "adjoint_gap": |<Jx, y> − <x, Jᵀy>| relative to the norms. EM learns g with
3 draws in three steps.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dip import (
    ExpectationMaximisationSettings,
    LatentRays,
    NetworkJacobian,
    WeightRoot,
    WhitenedRays,
    conjugate_gradient_solve,
    estimate_sensitivity,
    expectation_maximisation,
    weight_groups,
)
from operators.testing import adjoint_error
from tests.benchmarks.classifiers import initialised, resnet18
from tests.benchmarks.counted import Counted
from tests.benchmarks.environment import save
from tests.benchmarks.softmax_likelihood import UNIT, SoftmaxRoot, label_residual

TRAINING_BATCH, LEARNING_RATE = 128, 1e-3
EM = ExpectationMaximisationSettings(n_draws=3, max_iterations=3, tolerance=1e-2)


def data(path: Path | None, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (m, 3, 32, 32) and labels (m,), n of each where there is no file."""
    if path is None:
        images = torch.randn(n, 3, 32, 32, generator=generator)
        return images, torch.randint(10, (n,), generator=generator)
    found = np.load(path)
    return torch.as_tensor(found["images"]).float() / 127.5 - 1, torch.as_tensor(found["labels"]).long()


def trained(network: nn.Module, images: Tensor, labels: Tensor, steps: int, *, generator: torch.Generator) -> None:
    """Train in place."""
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    network.train()
    for _ in range(steps):
        chosen = torch.randint(len(images), (TRAINING_BATCH,), generator=generator)
        optimiser.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def settled(network: nn.Module, images: Tensor) -> nn.Module:
    """In evaluation, with the means and variances of these images in its normalisations."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second call."""
    for _ in range(2):
        started = clock(device)
        work()
    return clock(device) - started


def clock(device: torch.device) -> float:
    """Of the GPU, when it has done what it was given, or of the processor, which a busy machine does not change."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def peak_gib(device: torch.device) -> float:
    """Largest memory so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(network: nn.Module, images: Tensor, labels: Tensor, batch: int, seed: int) -> dict[str, object]:
    """All figures; the network is in evaluation."""
    device, generator = images.device, torch.Generator().manual_seed(seed)
    with torch.no_grad():
        logits = network(images)
    figures: dict[str, object] = {"peak_gib_forward": peak_gib(device)}
    with torch.no_grad():
        figures["forward_seconds"] = timed(lambda: network(images), device)
    jacobian = NetworkJacobian(network, images, batch=batch)
    x = torch.randn(batch, *jacobian.in_shape, generator=generator).to(device)
    y = torch.randn(batch, *jacobian.out_shape, generator=generator).to(device)
    figures |= {
        "weights": jacobian.in_shape[0],
        "jvp_per_second": batch / timed(lambda: jacobian(x), device),
        "vjp_per_second": batch / timed(lambda: jacobian.adjoint(y), device),
        "adjoint_gap": adjoint_error(jacobian, x, y),
        "peak_gib": peak_gib(device),
    }
    root = SoftmaxRoot(logits)
    noise = torch.ones(root.out_shape, device=device)
    sensitivity = estimate_sensitivity(jacobian, root, noise, 8, generator=generator)
    figures["sensitivity_error"] = float(sensitivity.standard_error.norm() / sensitivity.mean_square.norm())
    groups = weight_groups(jacobian, "g-prior", sensitivity=sensitivity.mean_square)
    counted = Counted(jacobian)

    def factor(variances: object) -> WhitenedRays:
        weights = WeightRoot(groups, variances, x)  # type: ignore[arg-type]
        return WhitenedRays(root, WhitenedRays(counted, weights, UNIT, torch.float32), UNIT, torch.float32)

    members = {name: group.index for name, group in groups.items()}
    rays = LatentRays(factor, members, {"noise": noise.double()}, known=("noise",))
    response = root(jacobian(jacobian.weights())).double()
    started = clock(device)
    found = expectation_maximisation(
        rays,
        label_residual(logits, labels).double() + response,
        {"g": 1.0 / jacobian.in_shape[0], "noise": 1.0},
        solve=conjugate_gradient_solve(rays, iterations=10, tolerance=0.03),
        generator=generator,
        settings=EM,
        floors={},
    )
    seconds = clock(device) - started
    return {
        **figures,
        "em": {"g": found.variances["g"], "iterations": found.iterations, "gain": found.gain},
        "em_seconds": seconds,
        "em_passes": counted.vectors,
        "peak_gib_em": peak_gib(device),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--inputs", type=int, default=4, help="images that J is taken at")
    parser.add_argument("--batch", type=int, default=3, help="vectors at a time")
    parser.add_argument("--channels", type=int, default=64, help="of the first stage")
    parser.add_argument("--images", type=Path, help="real ones, with labels")
    parser.add_argument("--steps", type=int, default=200, help="of training on them")
    parser.add_argument("--name", default="resnet_passes", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)
    images, labels = (part.to(options.device) for part in data(options.images, options.inputs, generator=generator))
    network = initialised(resnet18(channels=options.channels), generator=generator).to(options.device)
    n = options.inputs
    if options.images is not None:
        trained(network, images[n:], labels[n:], options.steps, generator=generator)
    network = settled(network, images[:TRAINING_BATCH])
    figures = measure(network, images[:n], labels[:n], options.batch, 0)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    figures = {"device": name, "inputs": n, "batch": options.batch, **figures}
    print(figures)
    if options.name != "none":
        print("written to", save(options.name, figures))


if __name__ == "__main__":
    main()
