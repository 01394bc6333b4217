"""From a reconstruction to what planning needs of it: the image's covariance, and the noise of views to come."""

from __future__ import annotations

import torch

from ctuq.config import DesignConfig
from ctuq.errors import InputError
from ctuq.reconstruction import Reconstruction
from ctuq.stage_watch import OnStep
from design import ImageBelief, ImageCovariance, drawn_covariance, exact_covariance
from dip import Posterior

_CHUNK = 16  # draws between two steps of a bar


def image_belief(
    reconstruction: Reconstruction, settings: DesignConfig, *, generator: torch.Generator, on_step: OnStep | None = None
) -> ImageBelief:
    """Exact for small images, by draws for others, and by the draws that were kept where it was read from a file.

    Args:
        reconstruction: with its rays.
        settings: up to which size it is exact, and how many draws otherwise.
        generator: of the draws.
        on_step: called as (stage, done, total, {}).

    Raises:
        InputError: a file with fewer than two draws, or without its rays.
    """
    if reconstruction.rays is None:
        raise InputError("expected a reconstruction that knows its rays, got one without: reconstruct the scan again")
    noise = reconstruction.rays.noise_of_a_view
    posterior = reconstruction.posterior
    if posterior is not None:
        return ImageBelief(_covariance(posterior, settings, generator, on_step), noise)
    if len(reconstruction.samples) < 2:
        raise InputError(
            f"expected a result file with at least 2 draws, got {len(reconstruction.samples)}: plan from the scan"
        )
    return ImageBelief(drawn_covariance(reconstruction.samples.double(), reconstruction.image.double()), noise)


def _covariance(
    posterior: Posterior, settings: DesignConfig, generator: torch.Generator, on_step: OnStep | None
) -> ImageCovariance:
    exact = posterior.mean.numel() <= settings.exact_pixels
    total = 1 if exact else settings.n_draws

    def tell(done: int) -> None:
        if on_step is not None:
            on_step("covariance", done, total, {})

    tell(0)
    if exact:
        found = exact_covariance(posterior)
    else:
        images = []
        for start in range(0, total, _CHUNK):
            n_draws = min(_CHUNK, total - start)
            images.append(posterior.sample(n_draws, generator=generator).images.float())
            tell(start + n_draws)
        found = drawn_covariance(torch.cat(images), posterior.mean)
    if exact:
        tell(1)
    return found
