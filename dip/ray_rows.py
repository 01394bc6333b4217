"""The rays' rows of A J, of as many layers at a time as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from dip.gram import ray_jacobian
from dip.jacobian import NetworkJacobian
from dip.weight_prior import WeightGroup
from operators import LinearMap


class RowsOfLayers(NamedTuple):
    """Columns of A J that belong to neighbouring layers.

    Args:
        rows: (rays, weights of these layers).
        weights: where those lie in (P,).
    """

    rows: Tensor
    weights: slice

    def groups(self, groups: Mapping[str, WeightGroup]) -> dict[str, WeightGroup]:
        """What these layers have of every group, its weights counted from the first of theirs."""
        found = {}
        for name, group in groups.items():
            here = (group.index >= self.weights.start) & (group.index < self.weights.stop)
            if here.any():
                index, std = group.index[here] - self.weights.start, group.relative_std.to(here.device)[here]
                found[name] = replace(group, index=index, relative_std=std)
        return found


class RayRows:
    """Iterates over the rows of A J, layers after layers, anew each time; what fits as a whole is computed once.

    A product with the adjoint of J goes through all layers, whichever it is wanted of. So every part takes one such
    product a ray, and as little memory as the largest layer's columns may be all that is held.

    Args:
        jacobian: J.
        transform: A.
        rays: which, (rays,) into all.
        most_bytes: held at a time, but for a single layer.
        on_step: called as (products done, products) the first time.
    """

    def __init__(
        self,
        jacobian: NetworkJacobian,
        transform: LinearMap,
        rays: Tensor,
        *,
        most_bytes: float,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._jacobian, self._transform, self._rays, self._on_step = jacobian, transform, rays, on_step
        a_ray = len(rays) * jacobian.weights().element_size()
        sizes = {name: weights.stop - weights.start for name, weights in jacobian.layers().items()}
        self.parts = parts_of_layers(sizes, most_bytes / a_ray)
        self._whole: RowsOfLayers | None = None

    def __iter__(self) -> Iterator[RowsOfLayers]:
        """Part by part, in the order of the weights."""
        if self._whole is not None:
            yield self._whole
            return
        if len(self.parts) == 1:
            self._whole = self._rows(0, self.parts[0])
            yield self._whole
            return
        for number, names in enumerate(self.parts):
            yield self._rows(number, names)  # not kept here: the next part is to have its memory
        self._on_step = None

    def _rows(self, number: int, names: Sequence[str]) -> RowsOfLayers:
        def tell(done: int, total: int) -> None:
            if self._on_step is not None:
                self._on_step(number * total + done, len(self.parts) * total)

        layers = self._jacobian.layers()
        rows = ray_jacobian(self._jacobian, self._transform, self._rays, layers=names, on_step=tell)
        return RowsOfLayers(rows, slice(layers[names[0]].start, layers[names[-1]].stop))


def parts_of_layers(sizes: Mapping[str, int], most_weights: float) -> list[tuple[str, ...]]:
    """Neighbouring layers with at most so many weights together, or a single one with more.

    Args:
        sizes: number of weights by layer, in the order of the layers.
        most_weights: of a part.
    """
    parts: list[list[str]] = []
    held = 0
    for name, n in sizes.items():
        if not parts or held + n > most_weights:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += n
    return [tuple(part) for part in parts]


def add(totals: dict[str, Tensor], terms: Mapping[str, Tensor]) -> None:
    """Add by name, in place."""
    for name, term in terms.items():
        if name in totals:
            totals[name] += term
        else:
            totals[name] = term
