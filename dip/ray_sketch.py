"""What products with some vectors say of the rays' covariance: one sketch for all questions about the same rays."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from dip.ray_preconditioner import RayPreconditioner
from operators import GramMap, LinearMap, Noise, nystrom_from_products

_MOST = 4  # times the first vectors
_BYTES = 5e8


class RaySketch:
    """Products of the signal's covariance C = A F Fᵀ Aᵀ with vectors Z, which precondition whatever is asked of C.

    Rays are left out of a question by noise so large that they say nothing. That changes the noise N = R Rᵀ alone, and
    R⁻¹ C R⁻ᵀ (Rᵀ Z) = R⁻¹ (C Z) whichever N is. So the products C Z serve the equations of the rays that choose, of
    those that judge and of all, and what one solve has searched along helps the next. It must not leave out more rays
    than those before: Z, which is as good as zero where rays were left out, would be drowned by the noise elsewhere.

    Args:
        test: Z, (rank, *rays) float64.
        product: C Z, likewise.
        variances: of C and N by name. Where all are multiplied by the same, so is C Z; where they move a little
            otherwise, a preconditioner need not know.
        rounding: relative, of the products.
    """

    def __init__(self, test: Tensor, product: Tensor, *, variances: Mapping[str, float], rounding: float) -> None:
        self._test, self._product, self._first = test, product, len(test)
        self._variances, self._rounding = dict(variances), rounding

    def preconditioner(self, noise: Noise, variances: Mapping[str, float], *, last: bool = False) -> RayPreconditioner:
        """Of I + R⁻¹ C R⁻ᵀ.

        Args:
            noise: N = R Rᵀ, huge at rays that are left out.
            variances: of C and N but for that.
            last: whether no solve will follow, for which to remember what those with this one search along.
        """
        record = None if last else partial(self._grow, noise, dict(variances))
        room = 0 if last else most_vectors(self._first, self._test[0].numel()) - len(self._test)
        test = noise.whiten(noise.apply(self._test)).flatten(1).mT  # Rᵀ Z
        products = noise.whiten(self._factor(variances) * self._product).flatten(1).mT
        # Vectors that are nearly dependent amplify the rounding of their products, and a larger shift for it makes the
        # approximation worse: so it is tried without first. What is of no use is no reason to end anything: draws are
        # checked, however they are solved for.
        for n, amplified in ((len(self._test), 1), (len(self._test), 10), (self._first, 1)):
            with contextlib.suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                found = nystrom_from_products(test[:, :n], products[:, :n], rounding=amplified * self._rounding)
                return RayPreconditioner(found, record=record, room=room)
        return RayPreconditioner(None, record=record, room=room)

    def _grow(self, noise: Noise, variances: Mapping[str, float], search: Tensor, images: Tensor) -> None:
        """Take in directions D of a solve, (k, *rays), and (I + R⁻¹ C R⁻ᵀ) D, as far as there is room."""
        room = most_vectors(self._first, self._test[0].numel()) - len(self._test)
        if room <= 0 or not len(search):
            return
        found = noise.whiten_adjoint(search[:room])
        product = noise.apply(noise.whiten_adjoint(images[:room] - search[:room]))  # R of it
        self._test = torch.cat([self._test, found])
        self._product = torch.cat([self._product, product / self._factor(variances)])

    def _factor(self, variances: Mapping[str, float]) -> float:
        return variances["noise"] / self._variances["noise"]


def most_vectors(first: int, n_rays: int) -> int:
    """How many a sketch may grow to: four times the first, and no more than half a GB beyond those.

    Args:
        first: vectors that it begins with.
        n_rays: their length.
    """
    return max(first, min(_MOST * first, int(_BYTES / (2 * 8 * n_rays))))


def ray_sketch(
    rays: LinearMap,
    rank: int,
    *,
    seen: Tensor,
    noise_std: Tensor,
    variances: Mapping[str, float],
    generator: torch.Generator,
    rounding: float,
    batch: int,
) -> RaySketch:
    """A sketch of random vectors, white in units of the noise where rays are seen by all questions.

    Args:
        rays: A F, handed float64; a product with it and its adjoint for each vector.
        rank: how many vectors.
        seen: shaped as the rays, bool: those that every question knows.
        noise_std: of the rays.
        variances: of C and N by name.
        generator: of the vectors.
        rounding: relative, of a product.
        batch: vectors at a time.
    """
    test = torch.randn(rank, *rays.out_shape, generator=generator, dtype=torch.float64, device=generator.device)
    test = torch.where(seen, test.to(seen.device) / noise_std, 0.0)
    gram = GramMap(rays)
    product = torch.cat([gram(part) for part in torch.split(test, batch)])
    return RaySketch(test, product, variances=variances, rounding=rounding)
