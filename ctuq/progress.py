"""How far a command has come, in words: what it does, how much of that is done, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ctuq.amount import amount

_WORDS = {
    "measure": "measuring this machine",
    "look": "reading scans",
    "batch": "reconstructing",
    "rows": "detector rows",
    "preprocess": "preparing the rays",
    "fit": "fitting the network",
    "simulate": "simulating scans",
    "pretrain": "training the network",
    "linearise": "linearising the network",
    "evidence": "learning the variances",
    "posterior": "computing error bars",
    "write": "writing files",
    "covariance": "drawing images",
    "score": "scoring views",
    "choose": "choosing views",
    "planned": "planned order",
    "equidistant": "equidistant order",
    "golden": "golden-angle order",
    "random": "random order",
}
"""Of stages that are known; others stand for themselves. What follows a hyphen is a number, as of random-2."""

_COUNTED = {
    "measure": "measurement",
    "look": "file",
    "batch": "slice",
    "rows": "row",
    "simulate": "image",
    "score": "view",
    "choose": "view",
    "planned": "reconstruction",
    "equidistant": "reconstruction",
    "golden": "reconstruction",
    "random": "reconstruction",
}
"""What is counted of stages whose steps mean something to whoever waits; others are told in percent."""

_STEADY = frozenset({"fit", "simulate", "pretrain", "linearise", "covariance", "rows"})
"""Stages whose steps take equally long, so that those left can be told from those done. Searches end early."""

_TRIAL = "trying settings"
_REFITS = ("again without test rays", "again with all rays", "again without choosing rays")
"""What the runs of a fit are for: those that choosing rays judge; and, the last one first, those that follow."""

_TOLD_IN_WORDS = frozenset({"run", "runs", "minutes_left", "slices_timed"})


@dataclass(frozen=True)
class Stretch:
    """How far a stage has come.

    Args:
        name: in words.
        done: steps.
        total: likewise.
        counted: what a step is; empty where they are nobody's business.
        seconds: since the stage began.
        left: how long the rest will take and what that rests on, in words; empty where it cannot be known.
        numbers: what else is known, in words.
        begins: whether the stage begins with this step.
    """

    name: str
    done: int
    total: int
    counted: str
    seconds: float
    left: str
    numbers: str
    begins: bool

    @property
    def share(self) -> str:
        """How much is done, in words."""
        if self.counted:
            return f"{self.done} of {amount(self.total, self.counted)}"
        return f"{100 * self.done / max(self.total, 1):.0f} %"

    @property
    def rest(self) -> str:
        """All that is known beside the share, in words."""
        return ", ".join(part for part in (self.left, self.numbers) if part)


@dataclass
class Progress:
    """Remembers when stages began; one that begins again, as in the next reconstruction, is timed anew."""

    _began: dict[str, float] = field(default_factory=dict)
    _done: dict[str, int] = field(default_factory=dict)
    _first: dict[str, tuple[float, int]] = field(default_factory=dict)

    def step(self, stage: str, done: int, total: int, info: Mapping[str, float]) -> Stretch:
        """`done` of `total` steps of a stage are over; of a fit, `run` of `runs` is told with them."""
        now = time.monotonic()
        # A stage may tell for minutes that nothing is done yet, as while the first of many files is read.
        begins = done < self._done.get(stage, done + 1)
        self._done[stage] = done
        if begins:
            self._began[stage] = now
            self._first.pop(stage, None)
        seconds = now - self._began[stage]
        # Timed from the first steps that are told: those before also load libraries.
        since, steps = self._first.setdefault(stage, (now, done)) if done else (now, 0)
        kind, _, number = stage.partition("-")
        name = f"{_WORDS.get(kind, kind.replace('_', ' '))} {number}".rstrip()
        if "runs" in info:
            name += f" ({_run_in_words(info)})"
        numbers = [f"{key.replace('_', ' ')} {value:.3g}" for key, value in info.items() if key not in _TOLD_IN_WORDS]
        return Stretch(
            name,
            done,
            total,
            _COUNTED.get(kind, ""),
            seconds,
            _left(stage, done, total, info, (now - since, done - steps)),
            ", ".join(numbers),
            begins,
        )


def _run_in_words(info: Mapping[str, float]) -> str:
    """Which run of a network this is, and of a fit what for."""
    run, runs = round(info["run"]), round(info["runs"])
    if "holdout_loss" in info:
        return f"{run} of {runs}: {_TRIAL}"
    return f"{run} of {runs}" + (f": {_REFITS[runs - run]}" if runs - run < len(_REFITS) else "")


def _left(stage: str, done: int, total: int, info: Mapping[str, float], timed: tuple[float, int]) -> str:
    """In words; `timed` are seconds and the steps that were done in them."""
    if "minutes_left" in info:
        slices = info.get("slices_timed", 0)
        rests_on = f"at the pace of {amount(round(slices), 'slice')}" if slices else "by the scans' sizes"
        return f"about {duration(60 * info['minutes_left'])} left {rests_on}" if done < total else ""
    seconds, steps = timed
    if stage not in _STEADY or not steps or done >= total:
        return ""
    return f"about {duration(seconds / steps * (total - done))} left"


def duration(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 3.5 h, 2.1 days."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{1 if name == 'h' else 0}f} {name}"
    return f"{seconds / 86400:.1f} days"
