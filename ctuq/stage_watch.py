"""How long the stages of a reconstruction take, and how far each has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import torch

OnStep = Callable[[str, int, int, Mapping[str, float]], None]


class StageWatch:
    """Times stages and passes their steps on.

    Args:
        on_step: called as (stage, done, total, {name: value}).
    """

    def __init__(self, on_step: OnStep | None) -> None:
        self.start_time = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self._on_step = on_step
        self._stage = ""
        self._complete, self._total = False, 1

    def stage(self, name: str) -> StageWatch:
        """What the block that follows is called."""
        self._stage = name
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()
        self.step(0, 1)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # what a GPU has still to do belongs to this stage
        self.seconds[self._stage] = time.perf_counter() - self._entered
        if kind is None and not self._complete:  # a search may end before its limit
            self.step(self._total, self._total)

    def step(self, done: int, total: int, info: Mapping[str, float] | None = None) -> None:
        """`done` of `total` steps of the present stage are over."""
        self._complete, self._total = done == total, total
        if self._on_step is not None:
            self._on_step(self._stage, done, total, info or {})
