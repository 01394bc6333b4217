"""Training a network on known images before it sees a scan: the educated start of arXiv 2111.11926."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dip.fit import has_bfloat16_units
from dip.unet import UNet

_CHECKPOINTS = 30


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """How a network learns to turn poor images into good ones.

    Args:
        steps: of Adam.
        batch: images a step.
        learning_rate: the peak of the one-cycle schedule.
        bfloat16: train under autocast; None: where the processor has matrix units for it.

    Raises:
        ValueError: numbers out of range.
    """

    steps: int = 4000
    batch: int = 8
    learning_rate: float = 5e-3
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")


def pretrain_network(
    network: UNet,
    inputs: Tensor,
    images: Tensor,
    *,
    settings: PretrainingSettings,
    generator: torch.Generator,
    on_step: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> None:
    """Train a network, in place, to make the images of the inputs: by random batches and least squares.

    Networks with a sigmoid by cross-entropy, which has its least value at the same images.

    Args:
        network: to train.
        inputs: (n, 1, row, col), what it is given.
        images: (n, 1, row, col), what it is to make of them.
        settings: how.
        generator: draws the batches.
        on_step: called as (done, total, {"loss"}), the root mean square error since the last call.

    Raises:
        ValueError: inputs and images that are not as many.
        FloatingPointError: the loss is not finite.
    """
    if len(inputs) != len(images):
        raise ValueError(f"expected as many inputs as images, got {len(inputs)} and {len(images)}")
    steps, device = settings.steps, inputs.device
    bfloat16 = has_bfloat16_units(device) if settings.bfloat16 is None else settings.bfloat16
    sigmoid = network.settings.output == "sigmoid"
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    # torch divides by zero when a tenth of the steps is exactly one
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, steps + (steps == 10), pct_start=0.1, cycle_momentum=False
    )
    since: list[Tensor] = []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(inputs), (settings.batch,), generator=generator).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            made = network.before_output(inputs[chosen]).float()
        wanted = images[chosen]
        # Squares of what a sigmoid saturates at have no gradient, and dark images drive it there in a few steps.
        loss = (
            functional.binary_cross_entropy_with_logits(made, wanted) if sigmoid else functional.mse_loss(made, wanted)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        since.append((network.output(made.detach()) - wanted).square().mean())
        if step % max(1, steps // _CHECKPOINTS) == 0 or step == steps:
            error = float(torch.stack(since).mean().sqrt())
            since.clear()
            if not math.isfinite(error):
                raise FloatingPointError("expected a finite loss, got none: try a smaller pretraining.learning_rate")
            if on_step is not None:
                on_step(step, steps, {"loss": error})
