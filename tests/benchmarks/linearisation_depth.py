"""How far linearised networks are from the networks themselves, by depth, by layer and by size; prints, writes JSON.

python -m tests.benchmarks.linearisation_depth [--cases digits kmnist] [--runs 3]    needs pip install 'ctuq[bench]'

Question: where should one stop believing error bars that are computed with a linearised network? Steps are 16 draws of
w − w* from its posterior, times a factor: 1 is the posterior itself. "error": `dip.linearisation_error`, the median of
|f(w* + δ) − f(w*) − J δ| / |f(w* + δ) − f(w*)|. "spread": root mean square change of the network's outputs over that of
the linear model's; 1 where the deviations are those that the network itself makes. "size": mean norm of the draws over
that of the weights w*. By layer: the part of the draws that moves this layer alone.

digits   perceptrons of 1 to 8 hidden layers, logits of 100 test digits; every layer has the prior that its weights were
         drawn from before the training, N(0, 1/fan-in), so that no evidence decides on it; a run is another split
kmnist   U-Nets of 1 to 4 scales fitted to a letter (a validation image, 20 angles, 5 % noise), isotropic prior; a run
         is another image. The sigmoid at the end has its own slope here, without the floor that the posterior gives it,
         and all is in double precision
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import ctuq
from dip import CholeskyUpdate, NetworkJacobian, NetworkPrior, SampledPosterior, linearisation_error, weight_groups
from dip.layers import weighted
from dip.pathwise import conditioned_draw
from tests.benchmarks import digits_laplace, kmnist
from tests.benchmarks.classifiers import initialised, perceptron, train
from tests.benchmarks.environment import SHARED_DATA, save
from tests.benchmarks.samplers import COMMON
from tests.benchmarks.softmax_likelihood import ClassifierModel

FACTORS = (1e-6, 1e-4, 1e-2, 0.1, 0.3, 1.0, 3.0)
DEPTHS, HIDDEN = (1, 2, 4, 8), 16
SCALES, CHANNELS = (1, 2, 3, 4), 32
DRAWS, JUDGES, TRAIN = 16, 100, 300


def errors(jacobian: NetworkJacobian, steps: Tensor) -> dict[str, object]:
    """Of steps (n, P) from the posterior: their size, and figures by factor and by layer."""
    layers = {}
    for name, where in jacobian.layers().items():
        alone = torch.zeros_like(steps)
        alone[:, where] = steps[:, where]
        layers[name] = _figures(jacobian, alone)
    return {
        "size": float(steps.norm(dim=1).mean() / jacobian.weights().norm()),
        "factor": {f"{t:g}": _figures(jacobian, t * steps) for t in FACTORS},
        "layer": layers,
    }


def _figures(jacobian: NetworkJacobian, steps: Tensor) -> dict[str, float]:
    origin = jacobian.outputs(torch.zeros_like(steps[0]))
    own = torch.stack([jacobian.outputs(step) for step in steps]) - origin
    return {
        "error": linearisation_error(jacobian, steps),
        "spread": float(own.norm() / jacobian(steps).norm()),
        "change": float(jacobian(steps).square().mean().sqrt()),
    }


def digits(depth: int, split: int) -> tuple[NetworkJacobian, Tensor]:
    """A perceptron's Jacobian on test digits, and steps."""
    generator = torch.Generator().manual_seed(split)
    training, validation, test = digits_laplace.digits(generator=generator)
    data = (training[0][:TRAIN], training[1][:TRAIN])
    network = train(
        lambda: initialised(perceptron(64, hidden=HIDDEN, depth=depth).double(), generator=generator),
        training,
        validation,
        steps=digits_laplace.STEPS,
        batch=digits_laplace.BATCH,
        learning_rate=digits_laplace.LEARNING_RATE,
        generator=generator,
    )
    jacobian = NetworkJacobian(network, test[0][:JUDGES], batch=DRAWS)
    groups = weight_groups(jacobian, "layer", sensitivity=torch.ones(jacobian.in_shape))
    variances = {name: 1 / module.weight[0].numel() for name, module in weighted(network).items()}
    posterior = ClassifierModel.of(network, *data).posterior(groups, variances, jacobian.weights())
    return jacobian, posterior.sample(DRAWS, generator=generator).images - posterior.mean


def letter(scales: int, index: int) -> tuple[NetworkJacobian, Tensor]:
    """A U-Net's Jacobian, and steps."""
    image = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["validation"][index] / 255.0
    scan, _ = kmnist.simulate(image, index, 20, 0.05)
    skips = [0, *[4] * scales][: scales - 1]
    changes = [
        f"network.channels={[CHANNELS] * scales}",
        f"network.skip_channels={skips}",
        "fit.members=1",
        "holdout.fraction=0.125",
        "prior.kind=isotropic",
        "posterior.image_temperature=1",
        *COMMON,
    ]
    posterior = ctuq.reconstruct(scan, ctuq.load_config(kmnist.CONFIG, overrides=changes)).posterior
    assert isinstance(posterior, SampledPosterior)
    update = posterior._update
    assert isinstance(update, CholeskyUpdate)
    prior = update.rays.factor
    assert isinstance(prior, NetworkPrior)
    generator = torch.Generator().manual_seed(0)
    latent = conditioned_draw(update, DRAWS, generator=generator).latent
    weights = prior.jacobian.weights()
    steps = prior._root(latent[:, : len(weights)].to(weights))
    network = copy.deepcopy(prior.jacobian.network).double()  # rounding is an error as large as that of small steps
    return NetworkJacobian(network, prior.jacobian.network_input.double()), steps.double()


CASES: dict[str, tuple[Callable[[int, int], tuple[NetworkJacobian, Tensor]], tuple[int, ...]]] = {
    "digits": (digits, DEPTHS),
    "kmnist": (letter, SCALES),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--runs", type=int, default=3, help="of every depth")
    parser.add_argument("--prefix", default="linearisation_depth", help="of JSON files in results/; 'none' writes none")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    for case in options.cases:
        make, depths = CASES[case]
        figures: dict[str, object] = {}
        for depth in depths:
            figures[str(depth)] = found = [errors(*make(depth, run)) for run in range(options.runs)]
            print(case, depth, found, flush=True)
        if options.prefix != "none":
            print("written to", save(f"{options.prefix}_{case}", figures))


if __name__ == "__main__":
    main()
