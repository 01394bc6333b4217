"""What was done to a scan before it was reconstructed: a step, in words and in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

StepValue = float | tuple[float, ...]


@dataclass(frozen=True)
class ProcessingStep:
    """One step of preprocessing, as results keep it.

    Args:
        name: of the step, such as "flat and dark correction".
        text: what was done and found, in one sentence; the step as a string.
        numbers: the same for programs, by name: a number, or several such as the indices of columns.
    """

    name: str
    text: str
    numbers: Mapping[str, StepValue] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text
