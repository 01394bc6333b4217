"""The linearised network: how its outputs answer to a small change of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dip.layers import (
    Derivative,
    Elementwise,
    Layer,
    Weighted,
    channels_last,
    curved,
    derivative,
    layer,
    weighted,
    zeros,
)
from dip.local_pull_back import TOGETHER, LocalPullBack
from dip.unet import UNet
from operators.linear_map import batch_shape


class NetworkJacobian:
    """J = df/dw at the network's present weights, a `LinearMap` from weights (P,) to outputs.

    An output is the image (row, col) of a network from one image to one image, the volume (slice, row, col) of one from
    volume to volume, or (input, output) of one that takes every input to a vector, such as a classifier's logits.

    Weights are those of convolutions and linear layers; biases and the parameters of normalisations are left out
    (METHOD: only convolution weights enter J). A call is a Jacobian-vector product, `adjoint` a vector-Jacobian
    product. All members of a batch share the activations of one forward pass, so that a layer's weight gradients for
    many rays are a single matrix product; per-sample rules by vmap take longer. Passes run in the dtype of the
    weights.

    Args:
        network: all that is not linear in it must be a module without others inside, and no module may be called
            twice. Its weights must not change afterwards: activations are computed here, once.
        network_input: (inputs, ...); (1, 1, rows, cols) for an image, (1, 1, slices, rows, cols) for a volume.
        batch: vectors taken through the network at a time. It bounds the memory: about batch × the activations. Of
            cotangents that reach little of them, such as those of rays, twice as many, up to eight.
        slope_floor: least slope of a sigmoid. A saturated pixel's own slope is zero, and so would its variance be,
            however wrong it is; 0 gives the exact Jacobian.

    Raises:
        ValueError: a batch below one, or a network of another kind.
    """

    def __init__(self, network: nn.Module, network_input: Tensor, *, batch: int = 4, slope_floor: float = 0.0) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.network = network
        self.network_input = network_input.detach()
        self.batch = batch
        self._modules, self._curved = weighted(network), curved(network)
        self._layers: dict[str, Layer] = {}
        inputs, shapes, self._out_shape = self._activations()
        start = 0
        for name, module in self._modules.items():
            self._layers[name] = layer(name, module, start, inputs[name], shapes[name])
            start = self._layers[name].stop
        self._n_weights = start
        self._derivatives = {
            name: derivative(module, inputs[name], slope_floor=slope_floor) for name, module in self._curved.items()
        }
        self._local: LocalPullBack | None = None
        elementwise = {name: one for name, one in self._derivatives.items() if isinstance(one, Elementwise)}
        # By its type: a network with another `forward` is another network.
        if type(network) is UNet and len(elementwise) == len(self._derivatives):
            self._local = LocalPullBack(network, self._layers, elementwise, inputs, self._out_shape)

    @property
    def in_shape(self) -> tuple[int]:
        """(P,), the weights, layer after layer as the network lists them."""
        return (self._n_weights,)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(row, col), (slice, row, col), or (input, output)."""
        return self._out_shape

    def weights(self) -> Tensor:
        """The point of linearisation, (P,)."""
        return torch.cat([layer.module.weight.detach().reshape(-1) for layer in self._layers.values()])

    def layers(self) -> dict[str, slice]:
        """Where each layer's weights lie in (P,)."""
        return {name: slice(layer.start, layer.stop) for name, layer in self._layers.items()}

    def outputs(self, step: Tensor) -> Tensor:
        """The network's own outputs, (*out_shape), at its weights plus `step`, (P,)."""
        batch_shape(step, self.in_shape, "step")
        moved = {
            f"{name}.weight": layer.module.weight + step[layer.start : layer.stop].reshape(layer.module.weight.shape)
            for name, layer in self._layers.items()
        }
        with torch.no_grad(), _full_precision():
            outputs: Tensor = torch.func.functional_call(self.network, moved, self.network_input)
        return outputs.reshape(self.out_shape)

    def __call__(self, x: Tensor) -> Tensor:
        """J x: (*batch, P) -> (*batch, *out_shape)."""
        batch = batch_shape(x, self.in_shape, "weights")
        tangents = torch.split(x.reshape(-1, self._n_weights), self.batch)
        return torch.cat([self._push_forward(chunk) for chunk in tangents]).reshape(*batch, *self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Jᵀ y: (*batch, *out_shape) -> (*batch, P)."""
        batch = batch_shape(y, self.out_shape, "output")
        flat = torch.cat([torch.cat(list(parts.values()), dim=1) for parts in self.pull_back(y)])
        return flat.reshape(*batch, self._n_weights)

    def pull_back(self, y: Tensor, layers: Sequence[str] | None = None) -> Iterator[dict[str, Tensor]]:
        """Jᵀ y, batch by batch and layer by layer: for each chunk of (*batch, *out_shape) a dict of (chunk, weights).

        For those who accumulate and must not hold (n, P) at once.

        Args:
            y: (*batch, *out_shape).
            layers: which; all if left out.
        """
        wanted = self._layers if layers is None else {name: self._layers[name] for name in layers}
        with _full_precision():
            local = self._local if self._local is not None and self._local.is_for(y) else None
        if local is not None:
            for chunk in torch.split(y.reshape(-1, *self.out_shape), min(TOGETHER, 2 * self.batch)):
                with _full_precision():
                    parts = local(chunk, wanted)
                yield parts
            return
        graph_batch = 0
        for chunk in torch.split(y.reshape(-1, *self.out_shape), self.batch):
            if len(chunk) != graph_batch:  # one graph serves all chunks of its size
                graph_batch = len(chunk)
                change, outputs = self._graph(graph_batch)
            with _full_precision():
                signals = torch.autograd.grad(
                    change, [outputs[name] for name in wanted], chunk.reshape(change.shape), retain_graph=True
                )
                parts = {
                    name: layer.gradient(signal, len(chunk))
                    for (name, layer), signal in zip(wanted.items(), signals, strict=True)
                }
            yield parts

    def _graph(self, n: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The change of the output and that of every layer's, for n tangents, with the graph between them."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                outputs[name] = channels_last(output)
                return outputs[name]

            return hook

        with self._linearised(), _hooks(self._modules, keep), torch.enable_grad():
            return self.network(zeros(n, self.network_input).requires_grad_(True)), outputs

    def _push_forward(self, tangents: Tensor) -> Tensor:
        """A change dW of a layer adds dW · patches to its output; the layers behind carry that to the end."""

        def inject(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                # In place, as the layer has just made it: a third array would take as long as the product does.
                return channels_last(output).add_(self._layers[name].change(tangents))

            return hook

        with self._linearised(), _hooks(self._modules, inject), torch.no_grad():
            change: Tensor = self.network(zeros(len(tangents), self.network_input))
        return change.reshape(-1, *self.out_shape)

    @contextlib.contextmanager
    def _linearised(self) -> Iterator[None]:
        """The network as a linear map of its features' changes: no biases, and derivatives in place of modules."""
        with _frozen(self.network, self._modules), _replaced(self._curved, self._derivatives), _full_precision():
            yield

    def _activations(self) -> tuple[dict[str, Tensor], dict[str, torch.Size], tuple[int, ...]]:
        """Inputs of all modules, shapes of their outputs, and the shape of the network's."""
        inputs: dict[str, Tensor] = {}
        shapes: dict[str, torch.Size] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
                if name in inputs:
                    raise ValueError(f"{name} must be called once in a pass, got a second call: try a module for each")
                inputs[name], shapes[name] = arguments[0].detach(), output.shape

            return hook

        every = {**self._modules, **self._curved}
        with torch.no_grad(), _full_precision(), _hooks(every, keep):
            output = self.network(self.network_input)
        if left := sorted(every.keys() - inputs.keys()):
            raise ValueError(f"every module must take part in a pass, got none of {', '.join(left)}")
        vectors, one = output.ndim == 2, output.ndim in (4, 5) and output.shape[:2] == (1, 1)
        if not (vectors or one):
            raise ValueError(f"the network must give (inputs, outputs), one image or volume, got {tuple(output.shape)}")
        return inputs, shapes, tuple(output.shape if vectors else output.shape[2:])


@contextlib.contextmanager
def _hooks(modules: Mapping[str, nn.Module], make: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(make(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 on GPUs, which torch takes for convolutions by default: its ten bits would drown the rays' noise."""
    backends: Any = torch.backends  # whose own types leave these out
    # Recurrent layers, which there are none of, as convolutions: torch refuses to be asked about two that differ.
    kinds = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


@contextlib.contextmanager
def _replaced(modules: Mapping[str, nn.Module], derivatives: Mapping[str, Derivative]) -> Iterator[None]:
    """Derivatives in place of the modules' own `forward`, which a hook would only discard."""
    own = {name: vars(module).get("forward") for name, module in modules.items()}
    try:
        for name, module in modules.items():
            vars(module)["forward"] = derivatives[name]
        yield
    finally:
        for name, module in modules.items():
            vars(module).pop("forward", None)
            if own[name] is not None:
                vars(module)["forward"] = own[name]


@contextlib.contextmanager
def _frozen(network: nn.Module, modules: Mapping[str, Weighted]) -> Iterator[None]:
    """Layers without biases inside, and no gradient for weights, which are formed from patches."""
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    biases = {module: module.bias for module in modules.values()}
    network.requires_grad_(False)
    for module in biases:
        module.bias = None
    try:
        yield
    finally:
        for module, bias in biases.items():
            module.bias = bias
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
