"""The linearised network: how the image answers to a small change of the convolution weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dip.unet import Convolution, UNet
from operators.linear_map import batch_shape


@dataclass(frozen=True)
class _Layer:
    """One convolution, with what its weights meet: the patches of its input."""

    convolution: Convolution
    start: int
    stop: int
    patches: Tensor  # (in_channels * kernel, positions)
    out_shape: tuple[int, ...]  # (channels, rows, cols), or (channels, slices, rows, cols)


class NetworkJacobian:
    """J = df/dw at the network's present weights, a `LinearMap` from convolution weights (P,) to images (row, col).

    Of a network of volumes, to volumes (slice, row, col).

    Biases are left out (METHOD: only convolution weights enter J). A call is a Jacobian-vector product, `adjoint` a
    vector-Jacobian product. All members of a batch share the activations of one forward pass, so that a layer's
    weight gradients for many rays are a single matrix product; per-sample rules by vmap take two to three times longer.
    Passes run in the dtype of the weights.

    Args:
        network: its weights must not change afterwards: activations are computed here, once.
        network_input: (1, 1, rows, cols), or (1, 1, slices, rows, cols).
        batch: vectors taken through the network at a time. It bounds the memory: about batch × the activations.
        slope_floor: least slope of a sigmoid output. A saturated pixel's own slope is zero, and so would its variance
            be, however wrong it is; 0 gives the exact Jacobian. Without effect on a linear output.

    Raises:
        ValueError: a batch below one.
    """

    def __init__(self, network: UNet, network_input: Tensor, *, batch: int = 4, slope_floor: float = 0.0) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.network = network
        self.network_input = network_input.detach()
        self.batch = batch
        self._layers: dict[str, _Layer] = {}
        start = 0
        inputs, outputs = self._activations()
        for name, convolution in network.convolutions().items():
            stop = start + convolution.weight.numel()
            patches = _patches(inputs[name][0], convolution)
            self._layers[name] = _Layer(convolution, start, stop, patches, tuple(outputs[name].shape[1:]))
            start = stop
        self._n_weights = start
        self._derivatives = {name: _derivative(module, inputs[name]) for name, module in _curved(network).items()}
        self._slope = torch.ones(self.out_shape).to(network_input)
        if network.settings.output == "sigmoid":
            with torch.no_grad():
                image = network(network_input)[0, 0]
            self._slope = (image * (1 - image)).clamp(min=slope_floor)

    @property
    def in_shape(self) -> tuple[int]:
        """(P,), the convolution weights, layer after layer as `UNet.convolutions` lists them."""
        return (self._n_weights,)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(row, col), or (slice, row, col)."""
        return tuple(self.network_input.shape[2:])

    def weights(self) -> Tensor:
        """The point of linearisation, (P,)."""
        return torch.cat([layer.convolution.weight.detach().reshape(-1) for layer in self._layers.values()])

    def layers(self) -> dict[str, slice]:
        """Where each convolution's weights lie in (P,)."""
        return {name: slice(layer.start, layer.stop) for name, layer in self._layers.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """J x: (*batch, P) -> (*batch, row, col)."""
        batch = batch_shape(x, self.in_shape, "weights")
        tangents = torch.split(x.reshape(-1, self._n_weights), self.batch)
        return torch.cat([self._push_forward(chunk) for chunk in tangents]).reshape(*batch, *self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Jᵀ y: (*batch, row, col) -> (*batch, P)."""
        batch = batch_shape(y, self.out_shape, "image")
        flat = torch.cat([torch.cat(list(parts.values()), dim=1) for parts in self.pull_back(y)])
        return flat.reshape(*batch, self._n_weights)

    def pull_back(self, y: Tensor) -> Iterator[dict[str, Tensor]]:
        """Jᵀ y, batch by batch and layer by layer: for each chunk of (*batch, row, col) a dict of (chunk, weights).

        For those who accumulate and must not hold (n, P) at once.
        """
        cotangents = (y * self._slope).reshape(-1, 1, *self.out_shape)
        graph_batch = 0
        for chunk in torch.split(cotangents, self.batch):
            if len(chunk) != graph_batch:  # one graph serves all chunks of its size
                graph_batch = len(chunk)
                image, outputs = self._graph(graph_batch)
            signals = torch.autograd.grad(image, [outputs[name] for name in self._layers], chunk, retain_graph=True)
            yield {
                name: self._weight_gradient(layer, signal)
                for (name, layer), signal in zip(self._layers.items(), signals, strict=True)
            }

    def _weight_gradient(self, layer: _Layer, signal: Tensor) -> Tensor:
        # Signals lie channels-last in memory: as (positions, channels) they go into the product without a copy.
        positions = signal.movedim(1, -1).flatten(1, -2)
        return (layer.patches @ positions).mT.reshape(len(signal), -1)

    def _graph(self, n: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The image's change and that of every convolution's output, for n tangents, with the graph between them."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
                outputs[name] = output

            return hook

        with self._linearised(), _hooks(self.network.convolutions(), keep), torch.enable_grad():
            still = torch.zeros_like(self._copies(n)).requires_grad_(True)
            return self.network.before_output(still), outputs

    def _push_forward(self, tangents: Tensor) -> Tensor:
        """A change dW of a layer adds dW · patches to its output; the layers behind carry that to the image."""
        n = len(tangents)

        def inject(name: str) -> Any:
            layer = self._layers[name]

            def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                channels, *positions = layer.out_shape
                change = tangents[:, layer.start : layer.stop].reshape(n, channels, -1).mT
                change = (layer.patches.mT @ change).reshape(n, *positions, channels).movedim(-1, 1)
                return output + change

            return hook

        with self._linearised(), _hooks(self.network.convolutions(), inject), torch.no_grad():
            image = self.network.before_output(torch.zeros_like(self._copies(n)))
        return image.reshape(n, *self.out_shape) * self._slope

    @contextlib.contextmanager
    def _linearised(self) -> Iterator[None]:
        """The network as a linear map of its features' changes: no biases, and derivatives in place of activations.

        The derivatives are those of one forward pass. Were they taken anew in every pass, rounding would turn some of
        the activations that lie next to zero, and J and its adjoint would differ by a tenth of a percent. Torch's
        forward mode would also carry the features along with every tangent, and takes four times as long.
        """

        def differentiate(name: str) -> Any:
            derivative = self._derivatives[name]

            def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
                return derivative(inputs[0])

            return hook

        with _frozen(self.network), _hooks(_curved(self.network), differentiate):
            yield

    def _activations(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
                inputs[name], outputs[name] = arguments[0].detach(), output.detach()

            return hook

        with torch.no_grad(), _hooks({**self.network.convolutions(), **_curved(self.network)}, keep):
            self.network(self.network_input)
        return inputs, outputs

    def _copies(self, n: int) -> Tensor:
        copies = self.network_input.expand(n, *self.network_input.shape[1:])
        return copies.contiguous(memory_format=_channels_last(copies))


def _curved(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that are not linear in their input, by name."""
    kinds = (nn.LeakyReLU, nn.GroupNorm)
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


def _derivative(module: nn.Module, at: Tensor) -> Callable[[Tensor], Tensor]:
    """What a module makes of tangents (n, channel, row, col) where its input is `at`, (1, channel, row, col)."""
    if isinstance(module, nn.LeakyReLU):
        slope = torch.where(at > 0, torch.ones_like(at), module.negative_slope)
        return slope.contiguous(memory_format=_channels_last(slope)).mul

    def normalised(x: Tensor) -> Tensor:
        # Torch's derivative of it fails where channels lie last in memory. Not called as a module: that has the hook.
        normalised: Tensor = type(module).forward(module, x.contiguous())
        return normalised

    return lambda tangent: torch.func.jvp(normalised, (at.expand_as(tangent).contiguous(),), (tangent,))[1]


def _patches(features: Tensor, convolution: Convolution) -> Tensor:
    """(channel, *positions) -> (channel * kernel, positions of the output): what each position's weights meet."""
    if isinstance(convolution.padding, str):
        raise TypeError(f"padding must be numbers, got {convolution.padding!r}")
    padding = [pad for n in reversed(convolution.padding) for pad in (n, n)]
    windows = functional.pad(features, padding)
    for axis, (size, step) in enumerate(zip(convolution.kernel_size, convolution.stride, strict=True), 1):
        windows = windows.unfold(axis, size, step)
    n = len(convolution.kernel_size)
    return windows.movedim(tuple(range(1, n + 1)), tuple(range(-n, 0))).reshape(
        len(features) * math.prod(convolution.kernel_size), -1
    )


def _channels_last(features: Tensor) -> torch.memory_format:
    return torch.channels_last if features.ndim == 4 else torch.channels_last_3d


@contextlib.contextmanager
def _hooks(modules: Mapping[str, nn.Module], make: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(make(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _frozen(network: UNet) -> Iterator[None]:
    """Convolutions without biases inside, and no gradient for weights, which are formed from patches."""
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    biases = {convolution: convolution.bias for convolution in network.convolutions().values()}
    network.requires_grad_(False)
    for convolution in biases:
        convolution.bias = None
    try:
        yield
    finally:
        for convolution, bias in biases.items():
            convolution.bias = bias
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
