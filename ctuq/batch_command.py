"""`ctuq batch`: its options, and how it ends. What it does is in `ctuq.batch`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ctuq.amount import amount
from ctuq.batch import BatchRequest, Closing, Rehearsal, rehearse, run_batch
from ctuq.batch_planning import Wishes
from ctuq.config import load_config
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.options import ConfigFile, Debug, Json, Overrides, Seed, parse_rows
from ctuq.outcome import FAILED, INTERRUPTED, outcome
from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options

_SHOWN = 20  # failures in the closing words; the page has all


@with_source_options
def batch(  # noqa: PLR0913  one argument an option
    *,
    scans: Annotated[list[Path], typer.Argument(metavar="SCAN...", help="Scans (HDF5), or folders of them.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of results, index.html and manifest.sqlite; go on in it later.")
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    choice: SourceChoice,
    rows: Annotated[
        str | None, typer.Option(metavar="A:B", help="Detector rows from A, below B.", show_default="all")
    ] = None,
    row_block: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Neighbouring rows that a worker takes together.",
            show_default="as they are stored together, 16 at most",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes at once.", show_default="as many as processors and memory allow"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of each worker.", show_default="processors / workers; 1 with --dask and --slurm"),
    ] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only the I-th of N shares of the work, from 1.")] = "1/1",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Do again what is done, and replace results of other settings.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Jobs to begin at most.", show_default="all")] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="For a row; then its worker is killed.", show_default="none"),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Work on a Dask cluster, as tcp://host:8786.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Work in Slurm jobs with this option of sbatch. Repeatable."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct many scans, every row of each, and go on where an earlier run ended.

    What is done is skipped, what failed is left; a summary of all is in DIR/index.html. Deviations are in 1/mm.
    """
    with outcome(as_json=json, debug=debug) as events:
        settings = load_config(config, overrides=overrides or [])
        request = BatchRequest(
            scans=tuple(scans),
            out=out,
            wishes=Wishes(
                config=settings.for_any_folder(),
                seed=seed,
                choice=replace(choice, angles=_absolute(choice.angles)),
                rows=parse_rows(rows),
                row_block=row_block,
                shard=_parse_shard(shard),
                retry_failed=retry_failed,
                force=force,
            ),
            config_file=config,
            overrides=tuple(overrides or ()),
            workers=workers,
            threads=threads,
            limit=limit,
            time_limit_s=_checked_time(time_limit),
            dask=dask,
            slurm=_parse_slurm(slurm, dask),
        )
        if dry_run:
            _say_rehearsed(rehearse(request, events), events)
            return
        closing = run_batch(request, events)
        events.said(closing_lines(closing, out), closing_record(closing))
        if closing.interrupted:
            raise typer.Exit(INTERRUPTED)
        unfinished = closing.counts["pending"] and limit is None
        if closing.failures or closing.problems or unfinished:
            raise typer.Exit(FAILED)


def _absolute(angles: str | None) -> str | None:
    """Of a file of angles, as workers may have another working folder; a path inside the scans stays."""
    return angles if angles is None or not Path(angles).is_file() else str(Path(angles).resolve())


def _parse_shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"expected --shard I/N with I from 1 to N, got {text}: 1/2 and 2/2 are the two halves")
    return int(found[1]), int(found[2])


def _checked_time(seconds: float | None) -> float | None:
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise InputError(f"expected --time-limit above 0 s, got {seconds:g}: leave it out for none")
    return seconds


def _parse_slurm(options: Sequence[str] | None, dask: str | None) -> dict[str, str] | None:
    if not options:
        return None
    if dask is not None:
        raise InputError("expected --dask or --slurm, got both: choose one")
    pairs = [option.partition("=") for option in options]
    wrong = [option for option, (name, equals, _) in zip(options, pairs, strict=True) if not (name and equals)]
    if wrong:
        raise InputError(f"expected --slurm KEY=VALUE, got {wrong[0]!r}; try --slurm partition=cpu")
    return {name: value for name, _, value in pairs}


def _say_rehearsed(found: Rehearsal, events: Events) -> None:
    lines = [f"  {job[0].label}{f' to {job[-1].row}' if len(job) > 1 else ''}: {job[0].source}" for job in found.jobs]
    lines += [f"  failed      {label}: {reason}" for label, reason in found.failures]
    n_slices = sum(map(len, found.jobs))
    lines += [f"would do {amount(n_slices, 'slice')} in {amount(len(found.jobs), 'job')}; nothing was written"]
    record = {
        "event": "dry-run",
        "jobs": [[one.result for one in job] for job in found.jobs],
        "failures": [{"scan": label, "reason": reason} for label, reason in found.failures],
    }
    events.said(lines, record)


def closing_lines(closing: Closing, out: Path) -> list[str]:
    """How a batch ended, in words."""
    counts = closing.counts
    lines = [f"{out}: {counts['done']:,} done, {counts['failed']:,} failed, of {amount(sum(counts.values()), 'slice')}"]
    if counts["done"]:
        lines.append(f"  error bars  calibrated in {closing.calibrated} of {counts['done']}")
    lines += [f"  failed      {label}: {reason}" for label, reason in closing.failures[:_SHOWN]]
    if len(closing.failures) > _SHOWN:
        lines.append(f"  failed      and {len(closing.failures) - _SHOWN} more, see {closing.page}")
    lines += [f"  problem     {problem}" for problem in closing.problems]
    if counts["running"]:
        lines.append(f"  elsewhere   {counts['running']} worked on by another run")
    if counts["pending"]:
        lines.append(f"  left        {counts['pending']}: the same command goes on")
    if closing.lasting:
        lines.append(
            f"  mend        {closing.lasting} of the failed would fail again as they are: mend their files, and the "
            "same command does them; other settings go into another --out"
        )
    if len(closing.failures) > closing.lasting:
        lines.append(f"  try again   {'the others ' if closing.lasting else ''}with --retry-failed")
    made = f"{closing.made} in {closing.seconds:.0f} s" if closing.made else "nothing was left to do"
    lines += [f"  this run    {'interrupted; ' if closing.interrupted else ''}{made}", f"  summary     {closing.page}"]
    return lines


def closing_record(closing: Closing) -> dict[str, object]:
    """How a batch ended, for programs."""
    failures = [{"scan": label, "reason": reason} for label, reason in closing.failures]
    return {
        "event": "batch",
        **closing.counts,
        "calibrated": closing.calibrated,
        "made": closing.made,
        "failures": failures,
        "lasting": closing.lasting,
        "problems": list(closing.problems),
        "seconds": closing.seconds,
        "interrupted": closing.interrupted,
        "page": closing.page,
    }
