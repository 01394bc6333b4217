"""What the command line says while it works and when it is done: words and bars for people, JSON lines for programs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ctuq.progress import Progress, Stretch
from ctuq.reconstruction import Reconstruction
from ctuq.summary import summarise, summary_lines

_SECONDS_BETWEEN_JSON_STEPS = 0.2
_SECONDS_BETWEEN_LINES = 10.0


class Events(Protocol):
    """Where a command reports to."""

    written: list[Path]
    """Files that are whole on disk, so that an interruption can say so."""

    def step(self, stage: str, done: int, total: int, info: Mapping[str, float]) -> None:
        """`done` of `total` steps of a stage are over; fits `on_step` of `ctuq.reconstruct`."""

    def said(self, lines: Sequence[str], record: Mapping[str, object]) -> None:
        """Something to tell: lines for people, a record with the same content for programs."""

    def noted(self, line: str, record: Mapping[str, object]) -> None:
        """Something to tell while the work goes on; an empty line is for programs alone."""

    def finished(self, reconstruction: Reconstruction) -> None:
        """A reconstruction is done and its files are written."""

    def failed(self, message: str, exit_code: int) -> None:
        """The command ends here."""

    def close(self) -> None:
        """Stop drawing."""


class TerminalEvents:
    """Bars on standard error, words on standard output. Without a terminal, lines take the bars' place."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self._console = Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}", markup=False),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress()
        self._told: dict[str, float] = {}

    def step(self, stage: str, done: int, total: int, info: Mapping[str, float]) -> None:
        """Move the stage's bar."""
        stretch = self._progress.step(stage, done, total, info)
        if not self._console.is_terminal:
            self._tell(stage, stretch)
            return
        if stage not in self._tasks:
            self._bars.start()
            self._tasks[stage] = self._bars.add_task(stretch.name, total=total, share="", rest="")
        elif stretch.begins:
            self._bars.reset(self._tasks[stage])
        self._bars.update(
            self._tasks[stage],
            description=stretch.name,
            completed=done,
            total=total,
            share=stretch.share,
            rest=stretch.rest,
        )

    def _tell(self, stage: str, stretch: Stretch) -> None:
        """For logs: a line when a stage begins, one every ten seconds, one when it ends."""
        since = stretch.seconds - self._told.get(stage, -math.inf)
        if not stretch.begins and stretch.done < stretch.total and since <= _SECONDS_BETWEEN_LINES:
            return
        self._told[stage] = stretch.seconds
        far = f"{stretch.share}, {stretch.seconds:.0f} s" if stretch.done or stretch.counted else ""
        text = ", ".join(part for part in (far, stretch.rest) if part)
        self._console.print(f"{stretch.name}: {text}" if text else stretch.name, markup=False, soft_wrap=True)

    def said(self, lines: Sequence[str], record: Mapping[str, object]) -> None:  # noqa: ARG002  for programs
        """Print the lines."""
        self.close()
        for line in lines:
            typer.echo(line)

    def noted(self, line: str, record: Mapping[str, object]) -> None:  # noqa: ARG002  for programs
        """Print the line above the bars."""
        if line:
            self._console.print(line, markup=False, soft_wrap=True)

    def finished(self, reconstruction: Reconstruction) -> None:
        """Print the short verdict."""
        self.said(summary_lines(reconstruction, self.written), {})

    def failed(self, message: str, exit_code: int) -> None:
        """Print the message on standard error."""
        self.close()
        typer.echo(f"ctuq: {message}" if exit_code == 3 else f"ctuq: error: {message}", err=True)

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._tasks:  # bars that never began would leave an empty line
            self._bars.stop()


class JsonEvents:
    """One JSON object a line on standard output, each with the key `event`."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self._last: dict[str, float] = {}

    def step(self, stage: str, done: int, total: int, info: Mapping[str, float]) -> None:
        """A `step` event; at most five a second and a stage, always the first and the last."""
        now = time.monotonic()
        if done != total and now - self._last.get(stage, -math.inf) < _SECONDS_BETWEEN_JSON_STEPS:
            return
        self._last[stage] = now
        _emit({"event": "step", "stage": stage, "done": done, "total": total, "info": dict(info)})

    def said(self, lines: Sequence[str], record: Mapping[str, object]) -> None:  # noqa: ARG002  for people
        """The record as an event."""
        _emit(record)

    def noted(self, line: str, record: Mapping[str, object]) -> None:  # noqa: ARG002  for people
        """The record as an event."""
        _emit(record)

    def finished(self, reconstruction: Reconstruction) -> None:
        """A `finished` event: the summary, the files, the warnings."""
        files = [str(path) for path in self.written]
        notes = list(reconstruction.provenance.notes)
        steps = [str(step) for step in reconstruction.provenance.steps]
        record = {"event": "finished", **asdict(summarise(reconstruction))}
        _emit({**record, "written": files, "warnings": notes, "steps": steps})

    def failed(self, message: str, exit_code: int) -> None:
        """An `error` event, and the message on standard error too."""
        _emit({"event": "error", "message": message, "exit_code": exit_code})
        typer.echo(f"ctuq: {message}", err=True)

    def close(self) -> None:
        """There is nothing to stop."""


def _emit(record: Mapping[str, object]) -> None:
    typer.echo(json.dumps(_strict(record), ensure_ascii=False))


def _strict(value: object) -> object:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
