"""The deep image prior's network: a small U-Net from an image to an image of the same size, or of volumes likewise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dip.layers import Convolution

Output = Literal["linear", "sigmoid"]
Norm = Literal["none", "group"]
Dimensions = Literal[2, 3]
"""2 for images, 3 for volumes."""

_CHANNELS: dict[Dimensions, tuple[int, ...]] = {2: (32, 32, 32), 3: (8, 8, 8)}
_NORM_GROUPS = 4  # or as many as the channels can be divided into


@dataclass(frozen=True, kw_only=True)
class UNetSettings:
    """The network's shape. The defaults have 84,544 convolution weights for images.

    That is the published KMNIST network (arXiv 2203.00479) with a second convolution of the input and without its
    connection at the finest scale.

    Args:
        channels: feature channels at each scale, the finest first; every further scale halves the resolution. None:
            three scales of 32 for images, of 8 for volumes, where a pass through 32 takes minutes and gigabytes.
        skip_channels: channels carried across at each scale but the coarsest (0: no connection). A connection at the
            finest scale lets the streaks of the input through, so there is none by default.
        output: "linear", or "sigmoid" for images known to lie between 0 and 1.
        norm: "group" normalises groups of channels after every 3x3 convolution, "none" nothing. The scale of normalised
            weights changes no image, so that they cannot share a prior variance with others.

    Raises:
        ValueError: fewer than one scale, a number of channels below one, or lists that do not fit together.
    """

    channels: tuple[int, ...] | None = None
    skip_channels: tuple[int, ...] = (0, 4)
    output: Output = "linear"
    norm: Norm = "none"

    def __post_init__(self) -> None:
        channels = self.channels_for(2)
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be one positive number a scale, got {channels}")
        if len(self.skip_channels) != len(channels) - 1 or min(self.skip_channels, default=0) < 0:
            raise ValueError(
                f"skip_channels must be {len(channels) - 1} numbers from 0, one for every scale but the coarsest "
                f"of channels {channels}, got {self.skip_channels}"
            )
        if self.output not in ("linear", "sigmoid"):
            raise ValueError(f"output must be 'linear' or 'sigmoid', got {self.output!r}")
        if self.norm not in ("none", "group"):
            raise ValueError(f"norm must be 'none' or 'group', got {self.norm!r}")

    def channels_for(self, dimensions: Dimensions) -> tuple[int, ...]:
        """Feature channels at each scale of a network of images (2) or volumes (3)."""
        return _CHANNELS[dimensions] if self.channels is None else self.channels


class UNet(nn.Module):
    """A U-Net of 3x3 convolutions and leaky ReLUs, with group normalisation between them where set.

    Any image size: the input is padded to a multiple of the coarsest step and the output cropped. Of volumes it is the
    same network with filters of 3x3x3, which makes about three times as many weights.

    Args:
        settings: the network's shape.
        generator: draws the initial weights, N(0, 1/fan-in); biases start at zero. Torch's own start is √3 smaller, and
            the fit then depends more on the seed.
        dimensions: 2 for images, 3 for volumes.
    """

    def __init__(self, settings: UNetSettings, *, generator: torch.Generator, dimensions: Dimensions = 2) -> None:
        super().__init__()
        channels, skips = settings.channels_for(dimensions), settings.skip_channels
        self.settings, self.dimensions = settings, dimensions
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d

        def pair(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
            return _convolutions(convolution, n_in, n_out, stride=stride, norm=settings.norm)

        self.inward = pair(1, channels[0])
        self.down = nn.ModuleList(pair(a, b, stride=2) for a, b in itertools.pairwise(channels))
        self.skips = nn.ModuleList(
            convolution(c, s, 1) if s else nn.Identity() for c, s in zip(channels, skips, strict=False)
        )
        self.up = nn.ModuleList(
            pair(below + skip, here) for here, below, skip in zip(channels, channels[1:], skips, strict=False)
        )
        self.outward = convolution(channels[0], 1, 1)
        self.output = nn.Sigmoid() if settings.output == "sigmoid" else nn.Identity()
        self.reset(generator)

    def reset(self, generator: torch.Generator) -> None:
        """Draw all weights afresh, and set the biases to zero and the normalisations to plain ones."""
        with torch.no_grad():
            for convolution in self.convolutions().values():
                fan_in = math.prod(convolution.weight.shape[1:])
                convolution.weight.normal_(0, 1 / math.sqrt(fan_in), generator=generator)
                if convolution.bias is not None:
                    convolution.bias.zero_()
            for module in self.modules():
                if isinstance(module, nn.GroupNorm):
                    module.reset_parameters()

    def forward(self, z: Tensor) -> Tensor:
        """(n, 1, rows, cols), or (n, 1, slices, rows, cols), to the same."""
        image: Tensor = self.output(self.before_output(z))
        return image

    def before_output(self, z: Tensor) -> Tensor:
        """The same without the final sigmoid."""
        shape = z.shape[2:]
        step = 2 ** len(self.down)
        x = functional.pad(z, [pad for n in reversed(shape) for pad in (0, -n % step)], mode="replicate")
        features = [self.inward(x)]
        for down in self.down:
            features.append(down(features[-1]))
        x = features.pop()
        for scale in reversed(range(len(self.up))):
            mode = "bilinear" if self.dimensions == 2 else "trilinear"
            x = functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
            if self.settings.skip_channels[scale]:
                x = torch.cat([x, self.skips[scale](features[scale])], dim=1)
            x = self.up[scale](x)
        out: Tensor = self.outward(x)[(..., *map(slice, shape))]
        return out

    def convolutions(self) -> dict[str, Convolution]:
        """All convolutions by name, from input to output."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Convolution)}

    def scale_of(self, name: str) -> str:
        """The block of the prior that a convolution belongs to: one stage at one scale, e.g. "down.1" or "up.0"."""
        stage, _, rest = name.partition(".")
        return f"{stage}.{rest.partition('.')[0]}" if stage in ("down", "up", "skips") else stage


def _convolutions(convolution: type[Convolution], n_in: int, n_out: int, *, stride: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, step in ((n_in, stride), (n_out, 1)):
        layers.append(convolution(channels, n_out, 3, stride=step, padding=1))
        if norm == "group":
            layers.append(_GroupNorm(math.gcd(_NORM_GROUPS, n_out), n_out))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)


class _GroupNorm(nn.GroupNorm):
    """Group normalisation that forward-mode differentiation can pass in every memory layout.

    Torch's own derivative views its tangent as groups of channels, which fails where channels lie last in memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())
