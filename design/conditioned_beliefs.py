"""What is believed of the candidates as views come in: a posterior now and then, conditioning in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

from torch import Tensor

from design.candidate_views import CandidateViews
from design.candidates import Candidates
from design.image_covariance import ImageCovariance
from design.planner_state import AwaitedView
from operators import Noise

_Views: TypeAlias = frozenset[tuple[str, AwaitedView]]
_KEPT = 2  # a planner asks for what was told, and for that with what is open


class ImageBelief(NamedTuple):
    """What a scan's measured views say of the image, as far as planning needs it.

    Args:
        covariance: of the image.
        noise: of the candidates.
    """

    covariance: ImageCovariance
    noise: Noise


class ScanModel(Protocol):
    """Whoever makes a posterior of measured views, and of that an image covariance, exact or by samples."""

    def __call__(self, angles_rad: Tensor, sinogram: Tensor, noise_variance: Tensor | None) -> ImageBelief:
        """From angles (view,), ascending, line integrals (view, detector) and their variances, if known; float64."""
        ...


class ConditionedBeliefs:
    """Beliefs about the candidates, each made of one already known where that is possible.

    Args:
        candidates: the views.
        region: (row, col) bool, the pixels that count; all if left out.
    """

    def __init__(self, candidates: Candidates, region: Tensor | None) -> None:
        self._candidates, self._region = candidates, region
        self._fitted: tuple[str, ...] = ()
        self._known: dict[_Views, CandidateViews] = {}
        self._base: CandidateViews | None = None

    def fitted(self, ids: tuple[str, ...]) -> bool:
        """Whether the posterior of these views is at hand."""
        return self._base is not None and self._fitted == ids

    def fit(self, ids: tuple[str, ...], belief: ImageBelief) -> None:
        """Start anew from the posterior of these views."""
        self._base = CandidateViews(belief.covariance, self._candidates, belief.noise, region=self._region)
        self._fitted, self._known = ids, {}

    def given(self, views: Mapping[str, AwaitedView]) -> CandidateViews:
        """What is believed once these were measured as well.

        Args:
            views: by name, none of them behind the posterior.

        Raises:
            RuntimeError: no posterior yet.
        """
        if self._base is None:
            raise RuntimeError("expected a posterior to start from: call fit first")
        wanted = frozenset(views.items())
        start = max((known for known in self._known if known <= wanted), key=len, default=frozenset())
        conditioned = self._known.get(start, self._base)
        for name, (angle_rad, noise_factor) in sorted(wanted - start):
            index = self._candidates.index_of(name)
            if index is None:
                transform = self._candidates.view_at(angle_rad)
                conditioned = conditioned.observing_view(transform, noise_factor=noise_factor)
            else:
                conditioned = conditioned.observing(index, noise_factor=noise_factor)
        self.remember(views, conditioned)
        return conditioned

    def remember(self, views: Mapping[str, AwaitedView], conditioned: CandidateViews) -> None:
        """Keep what is believed once these views were measured as well."""
        key = frozenset(views.items())
        self._known.pop(key, None)
        self._known[key] = conditioned
        for oldest in list(self._known)[:-_KEPT]:
            del self._known[oldest]
