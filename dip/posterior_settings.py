"""Which way the posterior is computed, and how hard it tries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PosteriorMethod = Literal["dense", "cholesky", "cg", "sgd", "sdd"]
"""How samples are drawn: exactly from the pixels' covariance, or by one of four ways to solve with the rays'."""

BYTES_A_LATENT = 48
"""What a draw takes for each number that it is made of: six in float64, before and after it is conditioned."""

BYTES_A_RAY = 96
"""What a solver takes for each ray of a draw: twelve vectors in float64."""

_BLOCK_BYTES = 1e9
_USUAL_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class PosteriorSettings:
    """How the posterior is computed.

    Args:
        method: "dense" (exact; memory grows with the square of the pixels), or samples by "cholesky" (memory grows with
            the square, time with the cube of the rays), "cg" (conjugate gradients), "sgd" (sample-then-optimise) or
            "sdd" (stochastic dual descent). "auto" is dense for small images, then cholesky, and cg for many rays.
            "sgd" takes somewhat more steps than "cg", and "sdd" pays where K can be held but takes too long to
            factorise, for few draws.
        dense_pixels: up to which "auto" is "dense".
        cholesky_rays: up to which the rays' covariance is held. Beyond, "auto" is "cg", variances are learned from some
            of the rays, and samples say what is expected of rays that judge.
        n_samples: drawn for the deviation where it is not exact.
        judging_samples: drawn for what is expected of the rays that choose, and again of those that judge, where their
            covariance is not held; at least 6, as four or fewer say too little of a variance to have a finite error.
        kept_samples: of those that are kept, the first ones drawn for the deviation.
        batch: vectors taken through the network at a time; it bounds the memory.
        block: samples whose equations are solved together, at most: the more they are the fewer passes each takes, and
            the more memory, see `draws_together`.
        tolerance: relative residual of a sample's equations at which it is good enough. It bounds the sample's error in
            units of the deviation, root mean square over as many directions as there are rays; in a single one it may
            be the root of their number times that. The passes' rounding alone may come to a hundredth.
        max_iterations: of "cg" and "sgd", two passes each for every sample; sweeps over the rays of "sdd".
        preconditioner_rank: of "cg" and "sgd", two passes each, once, and of "sdd", without passes; 0 for none. Where
            the signal is far above the noise, "sgd" and "sdd" do not get there without.
        image_temperature: the image's posterior variances are multiplied by it; 1 is Bayes' rule. Below 1 the posterior
            is cold (arXiv 2002.02405): nearer to the truth where the fit, which stops early and knows total variation,
            is better than its linear model can be. Rays cannot tell: it is for images with a known truth to say.
            The posterior's own noise is scaled with it: rays given to `observing` must have theirs scaled too.

    Raises:
        ValueError: numbers out of range, or an unknown method.
    """

    method: Literal["auto", "dense", "cholesky", "cg", "sgd", "sdd"] = "auto"
    dense_pixels: int = 2500
    cholesky_rays: int = 10_000
    n_samples: int = 128
    judging_samples: int = 32
    kept_samples: int = 16
    batch: int = 4
    block: int = 128
    tolerance: float = 0.05
    max_iterations: int = 1000
    preconditioner_rank: int = 256
    image_temperature: float = 1.0

    def __post_init__(self) -> None:
        least = {
            "dense_pixels": 1,
            "cholesky_rays": 1,
            "n_samples": 2,
            "judging_samples": 6,
            "kept_samples": 2,
            "batch": 1,
            "block": 1,
            "max_iterations": 1,
            "preconditioner_rank": 0,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        for name in ("tolerance", "image_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        methods = ("auto", *get_args(PosteriorMethod))
        if self.method not in methods:
            raise ValueError(f"method must be one of {', '.join(methods)}, got {self.method!r}")

    def draws_together(self, method: PosteriorMethod, n_latent: int, n_rays: int) -> int:
        """How many samples are drawn at a time: `block` at most.

        "cg" draws more than 32 where these take less than a GB, as those that are solved for together help each other.
        The other methods, which gain nothing from it, never do.

        Args:
            method: how they are drawn.
            n_latent: what a draw is made of, weights and pixels.
            n_rays: what it is conditioned on.
        """
        a_draw = BYTES_A_LATENT * n_latent + BYTES_A_RAY * n_rays
        affordable = int(_BLOCK_BYTES / a_draw) if method == "cg" else 0
        return min(self.block, max(_USUAL_BLOCK, affordable))

    def method_for(self, n_pixels: int, n_rays: int) -> PosteriorMethod:
        """The method for an image of so many pixels and so many rays."""
        if self.method != "auto":
            return self.method
        if n_pixels <= self.dense_pixels:
            return "dense"
        return "cholesky" if n_rays <= self.cholesky_rays else "cg"
