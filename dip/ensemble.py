"""Networks of one shape that are trained side by side, each on its own rays."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from dip.unet import UNet

State = dict[str, Tensor]


class Ensemble:
    """Members of one deep ensemble with their weights stacked, (members, *weight), so that a step of all is one pass.

    For small images that costs half of what the members cost one after the other. What one member learns never reaches
    another: a loss that is a sum over members has their gradients side by side.

    Args:
        members: networks of one shape; their weights are copied.
        channels_last: how the weights of a single one lie in memory. With matrix units for bfloat16 that is faster by a
            half; in float32 it is slower (tests/benchmarks/compiled_fit.py).
    """

    def __init__(self, members: Sequence[UNet], *, channels_last: bool = False) -> None:
        stacked, _ = stack_module_state(list(members))
        self._stateless = copy.deepcopy(members[0]).to("meta")
        kept = _channels_last if channels_last and len(members) == 1 else _contiguous
        self._weights: State = {name: kept(weight.detach()).requires_grad_() for name, weight in stacked.items()}

    def __len__(self) -> int:
        return len(next(iter(self._weights.values())))

    def parameters(self) -> list[Tensor]:
        """The stacked weights: leaves of autograd."""
        return list(self._weights.values())

    def __call__(self, inputs: Tensor) -> Tensor:
        """(members, 1, 1, row, col) -> (members, row, col), volumes likewise: each member sees its own input."""
        if len(self) == 1:  # without the member axis, convolutions keep their fastest kernels
            alone = {name: weight[0] for name, weight in self._weights.items()}
            image: Tensor = functional_call(self._stateless, alone, (inputs[0],))
            return image[:, 0]
        images: Tensor = vmap(self._one)(self._weights, inputs)
        return images[:, 0, 0]

    def state(self) -> State:
        """A copy of the weights, (members, *weight) by name."""
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    def load(self, state: State) -> None:
        """Take weights over from a `state`, by copying."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(state[name])

    def clip_gradients(self, largest: float) -> None:
        """Shorten every member's gradient to a norm of at most `largest`."""
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        factor = (largest / norm.clamp(min=largest)).reshape(-1, 1)
        for gradient in gradients:
            gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))

    def member(self, index: int) -> UNet:
        """One member as a network of its own."""
        device = self.parameters()[0].device
        network = copy.deepcopy(self._stateless).to_empty(device=device)
        network.load_state_dict({name: weight[index].detach() for name, weight in self._weights.items()})
        layout = torch.channels_last if network.dimensions == 2 else torch.channels_last_3d
        return network.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]

    def _one(self, weights: State, network_input: Tensor) -> Tensor:
        image: Tensor = functional_call(self._stateless, weights, (network_input,))
        return image


def _contiguous(stacked: Tensor) -> Tensor:
    """Whatever the layout that the members come in: those of a fit have channels last."""
    return stacked.clone(memory_format=torch.contiguous_format)


def _channels_last(stacked: Tensor) -> Tensor:
    """One member's weights with channels last, whatever axis is in front."""
    if stacked.ndim < 5:
        return stacked.clone()
    return stacked.movedim(2, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 2)
