"""The layers of a network: weights that its Jacobian is taken by, and modules whose derivative stands in for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

Convolution: TypeAlias = nn.Conv2d | nn.Conv3d
Weighted: TypeAlias = Convolution | nn.Linear
"""What has weights that enter the Jacobian."""

Derivative = Callable[[Tensor], Tensor]
"""Tangents (n · inputs, ...) of a module's input -> those of its output."""

# What these do depends on nothing but the element itself; the slopes of one forward pass serve all tangents.
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.ELU, nn.Softplus)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # which may be empty
_POOLS = (nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_LINEAR = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Upsample, *_POOLS)
_DIFFERENT_IN_TRAINING = (_BatchNorm, _DropoutNd)


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer, with what its weights meet: its inputs, and the patches of them.

    Args:
        module: the layer.
        start: where its weights begin among those of all layers.
        stop: where they end.
        inputs: (inputs, in_channels, ...), channels last in memory.
        patches: (positions, in_channels · kernel), positions of all inputs one after the other.
        out_shape: of its output, channels last: (inputs, ..., channels), without positions for a linear layer.
    """

    module: Weighted
    start: int
    stop: int
    inputs: Tensor
    patches: Tensor
    out_shape: tuple[int, ...]

    def change(self, tangents: Tensor) -> Tensor:
        """What changes of all weights (n, P) make of this layer's output, (n · inputs, channels, ...)."""
        n, module, own = len(tangents), self.module, self.module.weight.shape
        # One layer of n times as many channels, which takes less time than a product with the patches.
        weights = tangents[:, self.start : self.stop].reshape(n * own[0], *own[1:])
        if isinstance(module, nn.Linear):
            changed = self.inputs @ weights.mT
        else:
            convolve = functional.conv2d if isinstance(module, nn.Conv2d) else functional.conv3d
            changed = convolve(
                self.inputs, weights, stride=module.stride, padding=module.padding, dilation=module.dilation
            )
        return changed.reshape(-1, n, own[0], *changed.shape[2:]).movedim(1, 0).flatten(0, 1)

    def gradient(self, signal: Tensor, n: int) -> Tensor:
        """Weight gradients (n, weights) of n cotangents that reach the output as (n · inputs, channels, ...)."""
        channels = self.out_shape[-1]
        # One product for all: the patches, by far the largest, are read once.
        positions = signal.movedim(1, -1).reshape(n, -1, channels).movedim(0, 1).reshape(-1, n * channels)
        # What comes from a few rays is zero away from them, in the layers near the output: most of the product. Larger
        # images go another way (`LocalPullBack`); this serves smaller ones, volumes and other networks.
        reached = torch.nonzero(torch.linalg.vector_norm(positions, dim=1))[:, 0]  # `any` takes five times as long
        if len(reached) <= len(positions) / 2:
            return (positions[reached].mT @ self.patches[reached]).reshape(n, -1)
        return (positions.mT @ self.patches).reshape(n, -1)


def weighted(network: nn.Module) -> dict[str, Weighted]:
    """The modules whose weights enter the Jacobian, by name, in the order in which they were added."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Weighted)}


def curved(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that are not linear in their input, by name: all that hold no other and are not known to be linear.

    Raises:
        ValueError: normalisation over a batch or dropout that are still in training.
    """
    found = {}
    for name, module in network.named_modules():
        if module.training and isinstance(module, _DIFFERENT_IN_TRAINING):
            raise ValueError(f"{name} must not depend on the other inputs or on chance: try network.eval()")
        alone = next(module.children(), None) is None
        if alone and not isinstance(module, (Weighted, *_LINEAR, *_CONTAINERS)):
            found[name] = module
    return found


def layer(name: str, module: Weighted, start: int, inputs: Tensor, output_shape: torch.Size) -> Layer:
    """A layer where its input is `inputs`, (inputs, channels, ...).

    Raises:
        ValueError: a layer of another kind than plain convolutions of images or volumes and linear layers of vectors.
    """
    if isinstance(module, nn.Linear):
        if inputs.ndim != 2:
            raise ValueError(f"{name} must have vectors (inputs, features) as its input, got {tuple(inputs.shape)}")
        patches = inputs
    else:
        patches = _patches(name, module, inputs)
    shape = (output_shape[0], *output_shape[2:], output_shape[1])
    return Layer(module, start, start + module.weight.numel(), channels_last(inputs), patches, shape)


def _patches(name: str, module: Convolution, inputs: Tensor) -> Tensor:
    """(inputs, channels, ...) -> (positions of the output, channels · kernel): what each position's weights meet."""
    if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise ValueError(f"{name} must be a convolution with groups=1 and a number of zeros around, got {module}")
    windows = functional.pad(inputs, [pad for n in reversed(module.padding) for pad in (n, n)])
    taps = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for axis, (size, step, apart) in enumerate(taps, 2):
        windows = windows.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    # (inputs, channels, *positions, *kernel) -> (inputs, *positions, channels, *kernel)
    n = len(module.kernel_size)
    ordered = windows.permute(0, *range(2, n + 2), 1, *range(n + 2, 2 * n + 2))
    return ordered.reshape(-1, inputs.shape[1] * math.prod(module.kernel_size))


@dataclass(frozen=True, eq=False)
class Elementwise:
    """The `Derivative` of what depends on nothing but the element itself.

    Args:
        slopes: (inputs, channels, ...), channels last in memory.
    """

    slopes: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(n · inputs, channels, ...) to the same."""
        if len(self.slopes) == 1:
            return x * self.slopes
        return (x.reshape(-1, *self.slopes.shape) * self.slopes).flatten(0, 1)


def derivative(module: nn.Module, at: Tensor, *, slope_floor: float) -> Derivative:
    """What a module makes of tangents where its input is `at`, (inputs, channel, ...).

    The derivatives are those of one forward pass. Were they taken anew in every pass, rounding would turn some of the
    activations that lie next to zero, and J and its adjoint would not be transposes. Torch's forward mode would also
    carry the features along with every tangent, which takes longer.

    Args:
        module: that is not linear.
        at: its input.
        slope_floor: least slope of a sigmoid.
    """

    def forward(x: Tensor) -> Tensor:
        # Torch's derivatives may fail where channels lie last in memory. By its type: its own `forward` may be this.
        result: Tensor = type(module).forward(module, x.contiguous())
        return result

    if not isinstance(module, _ELEMENTWISE):
        return lambda x: torch.func.jvp(forward, (_repeated(at, x).contiguous(),), (x,))[1]
    slopes = torch.func.jvp(forward, (at.contiguous(),), (torch.ones_like(at).contiguous(),))[1]
    if isinstance(module, nn.Sigmoid):
        slopes = slopes.clamp(min=slope_floor)
    return Elementwise(channels_last(slopes))


def zeros(n: int, like: Tensor) -> Tensor:
    """Inputs (n · inputs, ...) of zeros, `like` being (inputs, ...), channels last where they are images or volumes."""
    return channels_last(like.new_zeros(n * len(like), *like.shape[1:]))


def _repeated(at: Tensor, tangent: Tensor) -> Tensor:
    return at.expand(len(tangent) // len(at), *at.shape).flatten(0, 1)


def channels_last(x: Tensor) -> Tensor:
    """Images or volumes laid out as convolutions are fastest with, and sums and products of them alike."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim]) if x.ndim in formats else x
