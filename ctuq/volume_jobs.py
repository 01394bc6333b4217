"""What `ctuq reconstruct --rows` does: neighbouring detector rows, one after the other, into parts and their volume."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ctuq.amount import amount
from ctuq.archive import Entry, entry_of
from ctuq.batch_job import part_name, reason_of, settings_key, slice_key
from ctuq.computing_device import resolve_device
from ctuq.config import NEIGHBOUR, Config, load_config
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.hdf5 import require_survivable
from ctuq.initial_weights import deciding_settings
from ctuq.jobs import Request, reconstruct_scan, repeating_command
from ctuq.neighbour import Neighbour
from ctuq.reconstruction import Reconstruction
from ctuq.result_file import read_result
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scans
from ctuq.summary import Summary, summarise
from ctuq.volume_file import VolumeRow, write_volume
from ctuq.whole_file import require_outputs, require_writable


def reconstruct_rows_to_files(request: Request, rows: tuple[int, int], events: Events) -> bool:
    """Reconstruct rows of a scan; write each as a part, then the volume, and picture and report of the middle one.

    A row that fails does not stop the others, and is NaN in the volume. With `fit.init=neighbour` every row starts from
    the last one before it that did not fail, and the first from random weights.

    Args:
        request: as for one row; its `command` is not used, as parts are repeated one by one.
        rows: [first, stop).
        events: where to report to.

    Returns:
        Whether all rows are done.

    Raises:
        InputError: the request is wrong.
        Exception: of the first row, where all of them failed.
    """
    require_outputs(request.outputs, source=request.scan, force=request.force)
    resolve_device(request.device)
    config = load_config(request.config, overrides=request.overrides)
    entry = _entry(request, rows)
    for part in (_part(request, row) for row in range(*rows)):
        if part.exists():
            require_writable(part, force=request.force)
    run, found = _Run(request, rows, entry, config), _Found([], {})
    events.step("rows", 0, rows[1] - rows[0], {})
    for row, scan in _scans(request, rows, entry):
        _reconstruct_row(row, scan, run, found, events)
        events.step("rows", len(found.rows), rows[1] - rows[0], {})
    if found.first_failure is not None and not found.summaries:
        raise found.first_failure
    for row in (one.row for one in found.rows if one.state != "done"):
        _part(request, row).unlink(missing_ok=True)  # of an older run: it looks like one of this
    write_volume(request.out, found.rows)
    events.written.append(request.out)
    pages = _write_pages(request, found, events)
    events.said(_lines(found, request, pages), _record(found, events))
    return found.first_failure is None


@dataclass(frozen=True)
class _Run:
    """What was asked for, and found in the file."""

    request: Request
    rows: tuple[int, int]
    entry: Entry
    config: Config

    @property
    def hands_on(self) -> bool:
        """Whether rows start from the row before."""
        return self.config.fit.init == NEIGHBOUR

    def config_after(self, neighbour: Neighbour | None) -> Config:
        """Of a row: where nobody came before, that of one by itself."""
        return self.config.from_random_weights if self.hands_on and neighbour is None else self.config

    def command(self, row: int) -> str:
        """What repeats a row: where it started from those before it, they are repeated too."""
        request = self.request
        return repeating_command(
            request.scan,
            choice=request.choice,
            config=request.config,
            overrides=request.overrides,
            row=None if self.hands_on else row,
            rows=(self.rows[0], row + 1) if self.hands_on else None,
            seed=request.seed,
            device=request.device,
        )


@dataclass
class _Found:
    """What came of the rows so far; `neighbour` is what the last that is done hands on, if rows do."""

    rows: list[VolumeRow]
    summaries: dict[int, Summary]
    first_failure: Exception | None = None
    neighbour: Neighbour | None = None

    @property
    def shown(self) -> int:
        """The middle one of the rows that are done."""
        return list(self.summaries)[len(self.summaries) // 2]


def _reconstruct_row(row: int, scan: Scan | InputError, run: _Run, found: _Found, events: Events) -> None:
    key, state = "", "done"
    try:
        key, made = _save_row(row, scan, run, found.neighbour, events)
        found.summaries[row] = summarise(made)
        found.neighbour = made.neighbour if run.hands_on else None
    except Exception as error:  # noqa: BLE001  whatever it is, it is this row's failure
        state = reason_of(error)
        found.first_failure = found.first_failure or error
    part = part_name(run.request.out.stem, row)
    found.rows.append(VolumeRow(row, row * run.entry.pitch_mm, part, state, key))
    _note(row, state, found.summaries.get(row), events)


def _save_row(
    row: int, scan: Scan | InputError, run: _Run, neighbour: Neighbour | None, events: Events
) -> tuple[str, Reconstruction]:
    """Hash of all that decides the row's result, and what came out."""
    if isinstance(scan, InputError):
        raise scan
    request, config = replace(run.request, command=run.command(row)), run.config_after(neighbour)
    # The weights that a row starts from were made with the hold-out that it shares: their content says both.
    deciding = deciding_settings(config, None if neighbour is None else neighbour.weights)
    settings = settings_key(deciding, version=importlib.metadata.version("ctuq"), seed=request.seed)
    made = reconstruct_scan(scan, config, request, events, neighbour=neighbour)
    part = _part(request, row)
    part.parent.mkdir(exist_ok=True)
    events.written.append(made.save(part, force=request.force))
    return slice_key(settings, sha256=scan.sha256, entry=run.entry.name, row=row), made


def _entry(request: Request, rows: tuple[int, int]) -> Entry:
    require_survivable(request.scan)
    entry = entry_of(request.scan, request.choice.entry or "", inspect(request.scan, request.choice))
    if entry.problem:
        raise InputError(entry.problem)
    if rows[1] > entry.n_rows:
        raise InputError(
            f"expected --rows from 0:{entry.n_rows}, as {request.scan.name} has {entry.n_rows}, got "
            f"{rows[0]}:{rows[1]}: choose among those"
        )
    return entry


def _scans(request: Request, rows: tuple[int, int], entry: Entry) -> Iterator[tuple[int, Scan | InputError]]:
    """Rows that are stored together are read together."""
    block = entry.row_block
    for number in range(rows[0] // block, -(-rows[1] // block)):
        wanted = range(max(rows[0], number * block), min(rows[1], (number + 1) * block))
        yield from read_scans(request.scan, wanted, choice=request.choice)


def _part(request: Request, row: int) -> Path:
    return request.out.parent / part_name(request.out.stem, row)


def _write_pages(request: Request, found: _Found, events: Events) -> list[Path]:
    """Picture and report of a row, if they are wanted."""
    pages = request.outputs[1:]
    if pages:
        shown = read_result(_part(request, found.shown))
        for write, page in zip((shown.picture, shown.report), pages, strict=True):
            events.written.append(write(page))
    return list(pages)


def _note(row: int, state: str, summary: Summary | None, events: Events) -> None:
    told = f"failed: {state}" if summary is None else f"deviation {summary.deviations}; {summary.verdict.headline}"
    record = {
        "event": "slice",
        "row": row,
        "state": "failed" if summary is None else "done",
        "reason": "" if summary else state,
        "median_std": summary.median_std if summary else None,
        "calibrated": summary.verdict.calibrated if summary else None,
    }
    events.noted(f"row {row}: {told}", record)


def _lines(found: _Found, request: Request, pages: list[Path]) -> list[str]:
    done = list(found.summaries.values())
    median, largest = statistics.median(one.median_std for one in done), max(one.largest_std for one in done)
    calibrated = sum(one.verdict.calibrated for one in done)
    return [
        f"{request.out.name}: {len(done)} of {amount(len(found.rows), 'row')}, {done[0].size}",
        f"  attenuation   {min(one.lowest for one in done):.3g} to {max(one.highest for one in done):.3g} 1/mm",
        f"  deviation     median {median:.3g}, largest {largest:.3g} 1/mm",
        f"  error bars    calibrated in {calibrated} of {amount(len(done), 'row')}",
        *(f"  failed        row {row.row}: {row.state}" for row in found.rows if row.state != "done"),
        f"  wrote         {request.out}, with its rows in {_part(request, 0).parent}",
        *(f"  wrote         {page}, of row {found.shown}" for page in pages),
    ]


def _record(found: _Found, events: Events) -> dict[str, object]:
    return {
        "event": "volume",
        "done": len(found.summaries),
        "failures": [{"row": row.row, "reason": row.state} for row in found.rows if row.state != "done"],
        "calibrated": sum(one.verdict.calibrated for one in found.summaries.values()),
        "median_std": statistics.median(one.median_std for one in found.summaries.values()),
        "written": [str(path) for path in events.written],
    }
