"""Cotangents that reach few positions of a network's features, and adjoints of maps that mix neighbours alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dip.layers import Convolution

_DOUBLED_TAPS = 4  # outputs of a doubling that an input takes part in, along an axis


@dataclass(frozen=True)
class LocalCotangent:
    """Cotangents of a field of features, at the positions where any of them is not zero.

    Args:
        positions: (m,), ascending, into the flattened field.
        values: (n, m, channels), of n cotangents.
        shape: of the field, without channels.
    """

    positions: Tensor
    values: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of_images(cls, images: Tensor) -> LocalCotangent:
        """Of dense ones, (n, ...), of a field of one channel."""
        flat = images.flatten(1)
        positions = torch.nonzero((flat != 0).any(dim=0))[:, 0]
        return cls(positions, flat[:, positions, None], tuple(images.shape[1:]))

    @property
    def share(self) -> float:
        """Of the field that is reached."""
        return len(self.positions) / math.prod(self.shape)

    def channels(self, part: slice) -> LocalCotangent:
        """Of some channels."""
        return replace(self, values=self.values[..., part].contiguous())

    def times(self, slopes: Tensor) -> LocalCotangent:
        """Position by position; slopes (all positions, channels)."""
        return replace(self, values=self.values * slopes[self.positions])

    def enlarged(self, shape: Sequence[int]) -> LocalCotangent:
        """In a field that goes on at the far end of its axes, and is zero there."""
        positions = torch.zeros_like(self.positions)
        for place, stride in zip(_places(self.positions, self.shape), _strides(shape), strict=True):
            positions += place * stride
        return replace(self, positions=positions, shape=tuple(shape))

    def __add__(self, other: LocalCotangent) -> LocalCotangent:
        """The sum, of the same field."""
        reached = torch.zeros(math.prod(self.shape), dtype=torch.bool, device=self.positions.device)
        reached[self.positions] = True
        reached[other.positions] = True
        positions = torch.nonzero(reached)[:, 0]
        row = torch.empty_like(reached, dtype=torch.long)
        row[positions] = torch.arange(len(positions), device=row.device)
        values = self.values.new_zeros(len(self.values), len(positions), self.values.shape[2])
        values[:, row[self.positions]] = self.values
        values[:, row[other.positions]] += other.values
        return LocalCotangent(positions, values, self.shape)


class Neighbours:
    """Which positions of an output field every position of an input field takes part in, axis by axis.

    Args:
        in_shape: of the input field.
        out_shape: of the output field.
        outputs: for every axis (inputs, taps), coordinates of outputs; -1 where there is none.
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], outputs: Sequence[Tensor]) -> None:
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        inputs = [_turned(table, n) for table, n in zip(outputs, out_shape, strict=True)]
        self._outputs = _in_strides(outputs, out_shape)
        self._inputs = _in_strides(inputs, in_shape)

    @classmethod
    def of_convolution(cls, module: Convolution, in_shape: Sequence[int], out_shape: Sequence[int]) -> Neighbours:
        """By taps in the order of its weights."""
        device, tables = module.weight.device, []
        for axis, (n_in, n_out) in enumerate(zip(in_shape, out_shape, strict=True)):
            taps = torch.arange(module.kernel_size[axis], device=device) * module.dilation[axis]
            place = torch.arange(n_in, device=device)[:, None] + int(module.padding[axis]) - taps
            output = place // module.stride[axis]
            there = (place % module.stride[axis] == 0) & (output >= 0) & (output < n_out)
            tables.append(torch.where(there, output, -1))
        return cls(in_shape, out_shape, tables)

    def adjoint(self, weights: Tensor, cotangent: LocalCotangent) -> LocalCotangent:
        """Of a convolution with weights (out_channels, in_channels, ...)."""
        positions, gathered = self.gather(cotangent)
        matrix = weights.flatten(2).permute(2, 0, 1).flatten(0, 1)  # (taps · out_channels, in_channels)
        values = torch.stack([one.flatten(1) @ matrix for one in gathered])
        return LocalCotangent(positions, values, self.in_shape)

    def gather(self, cotangent: LocalCotangent) -> tuple[Tensor, Iterator[Tensor]]:
        """Positions (m,) of the input that are reached, and one cotangent after the other, (m, taps, channels)."""
        device = cotangent.positions.device
        # Flat numbers from 1; 0 is where there is nothing.
        reached = torch.zeros(math.prod(self.in_shape) + 1, dtype=torch.bool, device=device)
        reached[_combined(self._inputs, cotangent.positions, self.out_shape)] = True
        positions = torch.nonzero(reached[1:])[:, 0]
        row = torch.zeros(math.prod(self.out_shape) + 1, dtype=torch.long, device=device)
        row[cotangent.positions + 1] = torch.arange(1, len(cotangent.positions) + 1, device=device)
        rows = row[_combined(self._outputs, positions, self.in_shape)]
        with_nothing = functional.pad(cotangent.values, (0, 0, 1, 0))
        return positions, (one.index_select(0, rows.flatten()).unflatten(0, rows.shape) for one in with_nothing)


class Doubling:
    """Linear interpolation to twice as many positions along every axis, as the U-Net does it.

    Args:
        in_shape: of the coarse field.
        like: of whose dtype and device cotangents are.
    """

    def __init__(self, in_shape: Sequence[int], like: Tensor) -> None:
        outputs, self._weights = [], []
        for n in in_shape:
            matrix = functional.interpolate(
                torch.eye(n, dtype=like.dtype, device=like.device)[None], scale_factor=2, mode="linear"
            )[0]
            # Input i is part of outputs 2i - 1 to 2i + 2, with weights that differ at the edges.
            place = torch.arange(n, device=like.device)[:, None] * 2 - 1
            place = place + torch.arange(_DOUBLED_TAPS, device=like.device)
            there = (place >= 0) & (place < 2 * n)
            outputs.append(torch.where(there, place, -1))
            self._weights.append(torch.where(there, matrix.gather(1, place.clamp(0, 2 * n - 1)), 0.0))
        self.neighbours = Neighbours(in_shape, [2 * n for n in in_shape], outputs)

    def adjoint(self, cotangent: LocalCotangent) -> LocalCotangent:
        """From twice as many positions along every axis."""
        shape = self.neighbours.in_shape
        positions, gathered = self.neighbours.gather(cotangent)
        weights = cotangent.values.new_ones(len(positions), 1)
        for table, place in zip(self._weights, _places(positions, shape), strict=True):
            weights = (weights[:, :, None] * table[place][:, None]).flatten(1)
        values = torch.stack([(weights[:, None] @ one)[:, 0] for one in gathered])
        return LocalCotangent(positions, values, shape)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _places(positions: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Coordinates of flat numbers, axis by axis."""
    return [positions // stride % n for stride, n in zip(_strides(shape), shape, strict=True)]


def _turned(outputs: Tensor, n_out: int) -> Tensor:
    """Of (inputs, taps) with outputs, (outputs, taps) with inputs; along one tap no two inputs share an output."""
    inputs = outputs.new_full((n_out, outputs.shape[1]), -1)
    for tap in range(outputs.shape[1]):
        there = torch.nonzero(outputs[:, tap] >= 0)[:, 0]
        inputs[outputs[there, tap], tap] = there
    return inputs


def _in_strides(tables: Sequence[Tensor], shape: Sequence[int]) -> list[Tensor]:
    """Coordinates along every axis as parts of a flat number; where there is none, so that no sum comes to 0."""
    nothing = -math.prod(shape) - 1
    return [
        torch.where(table >= 0, table * stride, nothing) for table, stride in zip(tables, _strides(shape), strict=True)
    ]


def _combined(tables: Sequence[Tensor], positions: Tensor, shape: Sequence[int]) -> Tensor:
    """(positions, taps of all axes): flat numbers from 1, and 0 where there is nothing."""
    total = positions.new_ones(len(positions), 1)
    for table, place in zip(tables, _places(positions, shape), strict=True):
        total = (total[:, :, None] + table[place][:, None]).flatten(1)
    return total.clamp(min=0)
