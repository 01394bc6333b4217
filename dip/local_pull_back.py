"""Vector-Jacobian products of a U-Net for cotangents like those of rays, at the positions alone that they reach."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from dip.layers import Elementwise, Layer
from dip.local_cotangent import Doubling, LocalCotangent, Neighbours
from dip.unet import UNet

TOGETHER = 8
"""Cotangents that share positions, at most: neighbouring rays reach much the same, and what is done serves them all."""

_MOST_OF_OUTPUT = 1 / 16
_MOST_OF_INPUT = {2: 0.3, 3: 0.08}  # by axes: measured, with the default networks on a CPU

_Reached = Generator[tuple[str, LocalCotangent], None, LocalCotangent]


class LocalPullBack:
    """Jᵀ y of a U-Net whose activations work element by element, for images y that are zero nearly everywhere.

    What a ray sends back stays within a strip that is as wide as what a pixel depends on: in 256 x 256 pixels it
    reaches a fiftieth of the last layer's positions, and a fifth of the first's. Rays that are taken together should be
    neighbours: of eight that are far apart each goes through the positions of all.

    Args:
        network: whose own `forward` this follows backwards.
        layers: its convolutions, by name.
        derivatives: of its activations, by name.
        inputs: (1, channels, ...) of every convolution, by name.
        image_shape: of the output.
    """

    def __init__(
        self,
        network: UNet,
        layers: Mapping[str, Layer],
        derivatives: Mapping[str, Elementwise],
        inputs: Mapping[str, Tensor],
        image_shape: tuple[int, ...],
    ) -> None:
        self._network, self._layers, self._image_shape = network, layers, image_shape
        self._names = {module: name for name, module in network.named_modules()}
        self._neighbours = {
            name: Neighbours.of_convolution(module, inputs[name].shape[2:], layers[name].out_shape[1:-1])
            for name, module in network.convolutions().items()
        }
        # (positions, channels), without a copy where channels lie last.
        self._slopes = {name: one.slopes.movedim(1, -1).flatten(0, -2) for name, one in derivatives.items()}
        finer = [inputs[self._names[next(up.children())]] for up in network.up]
        self._doublings = [Doubling([n // 2 for n in fine.shape[2:]], fine) for fine in finer]

    def is_for(self, y: Tensor) -> bool:
        """Whether cotangents (n, *image) reach so little that it pays."""
        return self._pays and 0 < int(torch.count_nonzero(y)) <= _MOST_OF_OUTPUT * y.numel()

    def __call__(self, y: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """Jᵀ y, for each wanted layer: (n, *image) to (n, weights)."""
        found: dict[str, Tensor] = {}
        for name, cotangent in self._walk(y):
            if name in wanted:
                # One product for all: the patches, by far the largest, are read once.
                flat = cotangent.values.movedim(0, 1).flatten(1)
                found[name] = (flat.mT @ self._layers[name].patches[cotangent.positions]).reshape(len(y), -1)
            if len(found) == len(wanted):
                break
        return {name: found[name] for name in wanted}

    @cached_property
    def _pays(self) -> bool:
        """Whether the middle of the image depends on a small part of the input: a line through it on about the root."""
        middle = self._network.outward.weight.new_zeros(1, *self._image_shape)
        middle[(0, *(n // 2 for n in self._image_shape))] = 1
        share = 1.0
        for _, cotangent in self._walk(middle):
            share = cotangent.share
        return share <= _MOST_OF_INPUT[len(self._image_shape)]

    def _walk(self, y: Tensor) -> Generator[tuple[str, LocalCotangent], None, None]:
        """What reaches the outputs of the convolutions, from the last to the first: `UNet.forward` backwards."""
        network = self._network
        back = yield from self._through([network.output], LocalCotangent.of_images(y))
        # What is cut off at the far end is nothing to the image.
        back = back.enlarged(self._layers["outward"].out_shape[1:-1])
        back = yield from self._through([network.outward], back)
        across: list[LocalCotangent | None] = []
        for up, skip, channels, doubling in zip(
            network.up, network.skips, network.settings.skip_channels, self._doublings, strict=True
        ):
            back = yield from self._through(up.children(), back)
            below = back.values.shape[2] - channels
            skipped = (yield from self._through([skip], back.channels(slice(below, None)))) if channels else None
            across.append(skipped)
            back = doubling.adjoint(back.channels(slice(below)))
        for down, skipped in zip(reversed(network.down), reversed(across), strict=True):
            back = yield from self._through(down.children(), back)
            back = back if skipped is None else back + skipped
        first, *others = network.inward
        back = yield from self._through(others, back)
        yield self._names[first], back

    def _through(self, modules: Iterable[nn.Module], back: LocalCotangent) -> _Reached:
        """Through modules that follow each other, from the last to the first."""
        for module in reversed(list(modules)):
            name = self._names[module]
            if name in self._layers:
                yield name, back
                back = self._neighbours[name].adjoint(self._layers[name].module.weight.detach(), back)
            elif name in self._slopes:
                back = back.times(self._slopes[name])
        return back
