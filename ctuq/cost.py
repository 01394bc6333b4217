"""What a reconstruction takes: numbers held and multiplied, stage by stage, from shapes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ctuq.config import Config
from dip import PosteriorMethod, PosteriorSettings, UNet
from dip.fit import REFITS
from dip.posterior_settings import BYTES_A_LATENT, BYTES_A_RAY
from dip.ray_rows import parts_of_layers
from dip.ray_sketch import most_vectors

_FLOAT32, _FLOAT64 = 4, 8
_STEPS: dict[PosteriorMethod, int] = {"cg": 10, "sgd": 60}  # of a sample, as scans took
_SOLVING_STEPS = 50  # of conjugate gradients in a step of expectation maximisation, as a small volume took
SECONDS_A_PASS = 1e-3
"""Of a pass through the network, however small; what its size costs comes on top."""
_VOLUME_FACTOR = 8  # seconds of a GFLOP of volumes, whose passes memory limits, by those of images

_KERNELS = 3  # of the pixels: by the network with and without its slope, and white


@dataclass(frozen=True)
class Speeds:
    """How fast a machine does what a reconstruction consists of.

    Args:
        fit: seconds for a GFLOP of passes through the network while it is fitted.
        linear: seconds for a GFLOP of products with its Jacobian and the adjoint, each of which is two passes.
        algebra: FLOP a second, of factorisations and products of matrices.
    """

    fit: float
    linear: float
    algebra: float


TWO_CORES = Speeds(fit=6e-3, linear=6e-3, algebra=1.5e11)
"""Two cores with matrix units for bfloat16, as scans took there."""


def gflop_of_a_pass(network: UNet, shape: tuple[int, ...]) -> float:
    """Of one image (row, col), or volume (slice, row, col), through the network's convolutions."""
    weights = ((name, convolution.weight.numel()) for name, convolution in network.convolutions().items())
    return float(sum(2 * math.prod(shape) / 2 ** (len(shape) * _halvings(name)) * n for name, n in weights)) / 1e9


class Cost:
    """Memory and time of a reconstruction.

    Args:
        config: its settings.
        n_rays: after thinning and binning.
        shape: of the image (row, col), or the volume (slice, row, col).
        noise_stated: whether the scan says how noisy each ray is.
        speeds: of the machine.
    """

    def __init__(
        self, config: Config, n_rays: int, shape: tuple[int, ...], *, noise_stated: bool, speeds: Speeds = TWO_CORES
    ) -> None:
        network = UNet(config.network, generator=torch.Generator(), dimensions=3 if len(shape) == 3 else 2)
        self._config, self._rays, self._pixels = config, n_rays, math.prod(shape)
        # Where all are too many, variances are learned from some of them, and half as many that choose.
        all_held = n_rays <= config.posterior.cholesky_rays
        self._learned = n_rays if all_held else min(n_rays, config.evidence.max_rays * 3 // 2)
        self._judging = 0 if all_held else 2 * config.posterior.judging_samples
        self._attempts = config.fit.n_attempts(noise_stated=noise_stated)
        self.n_weights = sum(c.weight.numel() for c in network.convolutions().values())
        self._maps = self._patches = 0.0
        for name, convolution in network.convolutions().items():
            positions = self._pixels / 2 ** (len(shape) * _halvings(name))
            self._maps += positions * convolution.out_channels
            self._patches += positions * convolution.weight[0].numel()
        sizes = {name: c.weight.numel() for name, c in network.convolutions().items()}
        parts = parts_of_layers(sizes, 1e9 * config.evidence.rows_gb / (self._learned * _FLOAT32))
        self._row_parts, self._part_weights = len(parts), max(sum(map(sizes.__getitem__, part)) for part in parts)
        self._kernel = config.prior.kind == "tangent-kernel"
        self._grams = _KERNELS if self._kernel else 3 + _n_grams(config, network)
        self._method = config.posterior.method_for(self._pixels, n_rays)
        width = 3 ** (len(shape) - 1)  # of a ray, in pixels or voxels
        matrix = n_rays * max(shape) * width * 3 * _FLOAT64
        largest = self._held_by_kernel() if self._kernel else self._held_by_weights()
        self.memory_bytes = int(self._held_by_passes() + matrix + largest)
        gflop = gflop_of_a_pass(network, shape) * (_VOLUME_FACTOR if len(shape) == 3 else 1)
        self.seconds = (
            self._fit_passes() * (gflop * speeds.fit + SECONDS_A_PASS)
            + self._linear_passes() * (gflop * speeds.linear + SECONDS_A_PASS)
            + self._algebra() / speeds.algebra
        )

    def _held_by_passes(self) -> float:
        linearised = self._config.fit.members if self._kernel else 1
        passes = (linearised * self._patches + 6 * self._config.posterior.batch * self._maps) * _FLOAT32
        if self._kernel or (self._method == "dense" and not self._judging):
            return passes
        # Draws of what the image is made of, weights and pixels, before and after, with what is made of them; where
        # they are solved for, the solver's vectors of all rays, and the preconditioner.
        settings = self._config.posterior
        latent, solving = self.n_weights + self._pixels, self._method in ("cg", "sgd") or self._judging
        block = settings.draws_together("cg" if self._judging else self._method, latent, self._rays)
        # As many of each are held while they are combined; a sketch, for solves that follow one another, grows.
        rank = settings.preconditioner_rank
        vectors = 10 * most_vectors(rank, self._rays) if self._judging else 6 * rank
        rays = (BYTES_A_RAY * block + _FLOAT64 * vectors) * self._rays if solving else 0
        return passes + BYTES_A_LATENT * block * latent + rays

    def _held_by_weights(self) -> float:
        """The rays' rows of A J while they are summed, or the matrices of the rays and what the posterior adds."""
        held = self._learned
        rows = held * self._part_weights * _FLOAT32
        rays = rows + held**2 * _FLOAT64 * (self._grams + 3)
        images = 0
        if self._method == "dense":
            images = 2 * self._pixels * self.n_weights * _FLOAT32 + self._pixels**2 * _FLOAT64 * 6
        return max(rays, held**2 * _FLOAT64 * (self._grams + 4) + images)

    def _held_by_kernel(self) -> float:
        """The pixels' rows of one member's J, twice; or the kernels with the rays' or the posterior's matrices.

        Nothing of rays times weights: the kernels go to the rays by the projection.
        """
        one_member = 2 * self._pixels * self.n_weights * _FLOAT32 + 4 * self._pixels**2 * _FLOAT64
        kernels = _KERNELS * self._pixels**2 * _FLOAT64
        projected = self._rays**2 * _FLOAT64 * self._grams
        projecting = 2 * self._rays * self._pixels * _FLOAT64
        learning = self._rays**2 * _FLOAT64 * (self._grams + 4)  # of the rays that are learned from, and the algebra
        posterior = 5 * self._pixels**2 * _FLOAT64 + projecting
        return max(one_member, kernels + projected + max(projecting, learning, posterior))

    def _fit_passes(self) -> float:
        """Passes through the network while it is fitted; a step is two."""
        fit = self._config.fit
        return 2 * fit.members * (self._attempts * fit.taken_steps + REFITS * fit.refit_steps)

    def _linear_passes(self) -> float:
        """Passes through the linearised network; a product with its Jacobian is two."""
        config = self._config
        # What does not fit is computed part by part, and the g-prior's scale before all else.
        again = self._row_parts > 1 and config.prior.kind == "g-prior"
        rows = self._learned * self._row_parts * (2 if again else 1)
        if self._kernel:
            passes = 2 * self._pixels * config.fit.members
        elif self._method == "dense":
            passes = 2 * (rows + self._pixels)
        else:
            passes = 2 * (rows + _products(self._method, config.posterior))
        if self._judging:
            sketch = 0 if self._method in ("cg", "sgd") else 2 * config.posterior.preconditioner_rank  # one for all
            passes += 2 * (sketch + self._judging * (3 + 2 * _STEPS["cg"]))
        if config.evidence.method == "tv-map":
            passes += 4 * self._pixels
        if config.evidence.method == "em":
            # The preconditioner is made anew whenever the solves since have cost four times what it did.
            solving = 2 * _SOLVING_STEPS * 1.25 if self._judging else 1
            passes += int(2 * solving * config.evidence.max_evaluations * (1 + config.evidence.n_draws))
        return passes

    def _algebra(self) -> float:
        """FLOP of factorisations and products of matrices."""
        rays, pixels, config = self._learned, self._pixels, self._config
        learning = config.evidence.max_evaluations * min(rays, 1.2 * config.evidence.max_rays) ** 3
        if self._kernel:
            sums = config.fit.members * pixels**2 * self.n_weights + _KERNELS * (rays * pixels**2 + rays**2 * pixels)
        else:
            sums = rays**2 * self.n_weights + (pixels**2 * self.n_weights if self._method == "dense" else 0)
        vectors = most_vectors(config.posterior.preconditioner_rank, self._rays) if self._judging else 0
        return learning + sums + 8 * rays**3 / 3 + 3 * 20 * self._rays * vectors**2


def _products(method: PosteriorMethod, settings: PosteriorSettings) -> int:
    """Products with A F or its adjoint behind all samples, by the steps that scans took."""
    steps = min(_STEPS.get(method, 0), settings.max_iterations)
    once = 2 * settings.preconditioner_rank if method in ("cg", "sgd") else 0
    return once + (3 + 2 * steps) * max(settings.n_samples, settings.kept_samples)


def _n_grams(config: Config, network: UNet) -> int:
    """Of the weights' prior: one a group, or six where filters are correlated."""
    if config.prior.kind == "layer":
        return len(network.convolutions())
    blocks = 3 * (len(config.network.skip_channels) + 1)
    return {"isotropic": 1, "g-prior": 1, "block": blocks, "filter-gp": 6 * blocks}[config.prior.kind]


def _halvings(name: str) -> int:
    stage, _, rest = name.partition(".")
    scale = int(rest.partition(".")[0]) if stage in ("down", "up", "skips") else 0
    return scale + 1 if stage == "down" else scale
