"""What is believed of the candidates as views come in: a posterior now and then, conditioning in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor

from design.candidate_views import CandidateViews
from design.candidates import Candidates
from design.image_covariance import ImageCovariance
from operators import Noise

_KEPT = 2  # a planner asks for what was told, and for that with what is open


class ImageBelief(NamedTuple):
    """What a scan's measured views say of the image, as far as planning needs it."""

    covariance: ImageCovariance
    noise: Noise  # of the candidates


class ScanModel(Protocol):
    """Whoever makes a posterior of measured views, and of that an image covariance, exact or by samples."""

    def __call__(self, angles_rad: Tensor, sinogram: Tensor) -> ImageBelief:
        """From angles (view,), ascending, and line integrals (view, detector), float64."""
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
        self._known: dict[frozenset[str], CandidateViews] = {}
        self._base: CandidateViews | None = None

    def fitted(self, ids: tuple[str, ...]) -> bool:
        """Whether the posterior of these views is at hand."""
        return self._base is not None and self._fitted == ids

    def fit(self, ids: tuple[str, ...], belief: ImageBelief) -> None:
        """Start anew from the posterior of these views."""
        self._base = CandidateViews(belief.covariance, self._candidates, belief.noise, region=self._region)
        self._fitted, self._known = ids, {}

    def given(self, views: Mapping[str, float]) -> CandidateViews:
        """What is believed once these were measured as well.

        Args:
            views: angles in radians by name, none of them behind the posterior.

        Raises:
            RuntimeError: no posterior yet.
        """
        if self._base is None:
            raise RuntimeError("expected a posterior to start from: call fit first")
        wanted = frozenset(views)
        start = max((known for known in self._known if known <= wanted), key=len, default=frozenset[str]())
        conditioned = self._known.get(start, self._base)
        for name in sorted(wanted - start):
            index = self._candidates.index_of(name)
            if index is None:
                conditioned = conditioned.observing_view(self._candidates.view_at(views[name]))
            else:
                conditioned = conditioned.observing(index)
        self.remember(wanted, conditioned)
        return conditioned

    def remember(self, names: frozenset[str], conditioned: CandidateViews) -> None:
        """Keep what is believed once the views of these names were measured as well."""
        self._known.pop(names, None)
        self._known[names] = conditioned
        for oldest in list(self._known)[:-_KEPT]:
            del self._known[oldest]
