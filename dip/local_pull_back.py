"""Vector-Jacobian products of a U-Net for cotangents like those of rays, at the positions alone that they reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from dip.layers import Derivative, Layer
from dip.local_cotangent import Doubling, LocalCotangent, Neighbours
from dip.unet import UNet

TOGETHER = 8
"""Cotangents that share positions: neighbouring rays reach much the same, and what is done once serves them all."""

_MOST_OF_OUTPUT = 1 / 16
_MOST_OF_INPUT = {2: 0.3, 3: 0.08}  # by axes: measured, with the default networks on a CPU


class LocalPullBack:
    """Jᵀ y of a U-Net whose activations work element by element, for images y that are zero nearly everywhere.

    What a ray sends back stays within a strip that is as wide as what a pixel depends on: in 256 x 256 pixels it
    reaches a fiftieth of the last layer's positions, and a fifth of the first's.

    Args:
        network: with norm "none".
        layers: its convolutions, by name.
        derivatives: of its activations, by name; each multiplies by slopes.
        inputs: (1, channels, ...) of every convolution and activation, by name.
        image_shape: of the output.
    """

    def __init__(
        self,
        network: UNet,
        layers: Mapping[str, Layer],
        derivatives: Mapping[str, Derivative],
        inputs: Mapping[str, Tensor],
        image_shape: tuple[int, ...],
    ) -> None:
        self._network, self._layers, self._image_shape = network, layers, image_shape
        self._names = {module: name for name, module in network.named_modules()}
        self._neighbours = {
            name: Neighbours.of_convolution(module, inputs[name].shape[2:], layers[name].out_shape[1:-1])
            for name, module in network.convolutions().items()
        }
        self._slopes = {
            name: multiply(torch.ones_like(inputs[name])).movedim(1, -1).flatten(0, -2)
            for name, multiply in derivatives.items()
        }
        finer = [inputs[self._names[next(up.children())]] for up in network.up]
        self._doublings = [Doubling([n // 2 for n in fine.shape[2:]], fine) for fine in finer]

    def is_for(self, y: Tensor) -> bool:
        """Whether cotangents (n, *image) reach so little that it pays."""
        return self._pays and 0 < int(torch.count_nonzero(y)) <= _MOST_OF_OUTPUT * y.numel()

    def __call__(self, y: Tensor) -> dict[str, Tensor]:
        """Jᵀ y, layer by layer: (n, *image) to (n, weights) each."""
        found: dict[str, Tensor] = {}
        for name, cotangent in self._walk(y).items():
            layer, values = self._layers[name], cotangent.values
            # One product for all: the patches, by far the largest, are read once.
            flat = values.movedim(0, 1).flatten(1)
            found[name] = (flat.mT @ layer.patches[cotangent.positions]).reshape(len(y), -1)
        return found

    @cached_property
    def _pays(self) -> bool:
        """Whether the middle of the image depends on a small part of the input: a line through it on about the root."""
        middle = self._network.outward.weight.new_zeros(1, *self._image_shape)
        middle[(0, *(n // 2 for n in self._image_shape))] = 1
        return next(reversed(self._walk(middle).values())).share <= _MOST_OF_INPUT[len(self._image_shape)]

    def _walk(self, y: Tensor) -> dict[str, LocalCotangent]:
        """What reaches the outputs of the convolutions, from the last to the first: `UNet.forward` backwards."""
        network, reached = self._network, dict[str, LocalCotangent]()
        back = self._through([network.output], LocalCotangent.of_images(y), reached)
        # What is cut off at the far end is nothing to the image.
        back = back.enlarged(self._layers["outward"].out_shape[1:-1])
        back = self._through([network.outward], back, reached)
        across: list[LocalCotangent | None] = []
        for up, skip, channels, doubling in zip(
            network.up, network.skips, network.settings.skip_channels, self._doublings, strict=True
        ):
            back = self._through(up.children(), back, reached)
            below = back.values.shape[2] - channels
            across.append(self._through([skip], back.channels(slice(below, None)), reached) if channels else None)
            back = doubling.adjoint(back.channels(slice(below)))
        for down, skipped in zip(reversed(network.down), reversed(across), strict=True):
            back = self._through(down.children(), back, reached)
            back = back if skipped is None else back + skipped
        first, *others = network.inward
        reached[self._names[first]] = self._through(others, back, reached)
        return reached

    def _through(
        self, modules: Iterable[nn.Module], back: LocalCotangent, reached: dict[str, LocalCotangent]
    ) -> LocalCotangent:
        """Through modules that follow each other, from the last to the first."""
        for module in reversed(list(modules)):
            name = self._names[module]
            if name in self._layers:
                reached[name] = back
                back = self._neighbours[name].adjoint(self._layers[name].module.weight.detach(), back)
            elif name in self._slopes:
                back = back.times(self._slopes[name])
        return back
