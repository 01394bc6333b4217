"""What `ctuq batch` does: scans on disk to results, volumes and a summary page, going on where an earlier run ended."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctuq.archive import files_in, parts_of_others
from ctuq.batch_database import copy_in_memory, open_database
from ctuq.batch_executors import Workers, dask_workers, local_workers, slurm_workers
from ctuq.batch_folder import BatchFolder
from ctuq.batch_job import Job, Slice, SliceResult
from ctuq.batch_manifest import Manifest
from ctuq.batch_needs import Needs, n_processors, needs
from ctuq.batch_planning import Wishes, enrol, look_at
from ctuq.batch_scheduler import Limits, Scheduler
from ctuq.batch_work import reconstruct_slices
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.run_lock import RunLock, remove_dead
from ctuq.worker_process import Answer, Call, in_child

Work = Callable[[Any], Iterable[SliceResult]]
Perform = Callable[[Call], Answer]


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """A batch that was asked for.

    Args:
        scans: files, or folders of them.
        out: folder of results; made if its parent exists.
        wishes: which slices, and what happens to those that exist.
        config_file: the configuration's, for commands that repeat a slice.
        overrides: of the configuration, likewise.
        workers: at once, on this machine or in Slurm; None: as many as processors and memory allow.
        threads: of each worker; None: the processors divided over them, one on a cluster.
        limit: jobs to begin; None: all.
        time_limit_s: for a slice; None: none.
        dask: address of a Dask scheduler, or None.
        slurm: options of sbatch, or None.
    """

    scans: tuple[Path, ...]
    out: Path
    wishes: Wishes
    config_file: Path | None = None
    overrides: tuple[str, ...] = ()
    workers: int | None = None
    threads: int | None = None
    limit: int | None = None
    time_limit_s: float | None = None
    dask: str | None = None
    slurm: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Closing:
    """How a batch ended.

    Args:
        counts: wanted slices by state.
        calibrated: how many of the finished ones have error bars to be believed.
        made: slices that this run settled.
        failures: what failed of all that was wanted, now or earlier: label and reason.
        lasting: how many of them would fail again, as the scan or the settings are at fault.
        problems: with volumes or the page, which no slice has.
        seconds: this run took.
        interrupted: whether it was.
        page: the summary.
    """

    counts: Mapping[str, int]
    calibrated: int
    made: int
    failures: tuple[tuple[str, str], ...]
    lasting: int
    problems: tuple[str, ...]
    seconds: float
    interrupted: bool
    page: Path


def run_batch(
    request: BatchRequest, events: Events, *, work: Work = reconstruct_slices, perform: Perform = in_child
) -> Closing:
    """Do a batch, or what is left of it.

    Args:
        request: what was asked for.
        events: where to report to.
        work: what is done with a job in a worker; a function of a module.
        perform: does a call of work; `in_child` keeps crashes and time limits in a process of its own.

    Raises:
        InputError: the request is wrong; found before anything is computed.
        CtuqError: there is no room for results, or the workers were lost. The same command goes on.
    """
    began = time.monotonic()
    files = files_in(request.scans)
    _require_out(request.out, files)
    manifest = Manifest(request.out, open_database(request.out))
    with manifest.exclusive():
        remove_dead(request.out)
        run = RunLock(request.out)
    folder = BatchFolder(manifest, events)
    events.written.append(request.out)
    interrupted = False
    try:
        try:
            _work_through(request, files, folder, run, work, perform)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            folder.close()
        return Closing(
            manifest.counts(wanted=True),
            manifest.believed(wanted=True),
            folder.made,
            _failures(manifest),
            manifest.lasting(wanted=True),
            tuple(f"{path}: {problem}" for path, problem in folder.problems.items()),
            time.monotonic() - began,
            interrupted,
            folder.page,
        )
    finally:
        run.release()
        manifest.close()


@dataclass(frozen=True)
class Rehearsal:
    """What a batch would do.

    Args:
        jobs: that would be begun, in their order.
        failures: that would be left: label and reason.
    """

    jobs: tuple[tuple[Slice, ...], ...]
    failures: tuple[tuple[str, str], ...]


def rehearse(request: BatchRequest, events: Events, *, perform: Perform = in_child) -> Rehearsal:
    """What `run_batch` would do; nothing is written.

    Raises:
        InputError: the request is wrong.
    """
    files = files_in(request.scans)
    manifest = Manifest(request.out, copy_in_memory(request.out))
    with tempfile.TemporaryDirectory() as elsewhere:
        run = RunLock(Path(elsewhere))
        try:
            jobs, _ = _planned(request, files, manifest, run, events, perform)
            return Rehearsal(tuple(jobs), _failures(manifest))
        finally:
            run.release()
            manifest.close()


def _failures(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    return tuple((one.label, reason) for one, reason in manifest.wanted("failed"))


def _require_out(out: Path, files: Sequence[Path]) -> None:
    inside = next((path for path in files if out.is_dir() and path.parent.samefile(out)), None)
    if inside is not None:
        raise InputError(f"expected --out to be a folder of its own, but {inside} is in it: choose another")
    try:
        if out.parent.is_dir():
            out.mkdir(exist_ok=True)
        if not out.is_dir():
            raise InputError(f"expected a folder for results, but {out.parent} does not exist; try: mkdir -p {out}")
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written to, but {out} cannot ({error.strerror}): try another folder"
        ) from error


def _planned(
    request: BatchRequest, files: Sequence[Path], manifest: Manifest, run: RunLock, events: Events, perform: Perform
) -> tuple[list[tuple[Slice, ...]], Needs]:
    """What is to be begun, and what the largest slice of the files takes; the manifest knows what is wanted."""
    wishes = request.wishes
    again = wishes.retry_failed or wishes.force
    contents = look_at(
        files,
        manifest,
        run,
        choice=wishes.choice,
        n_workers=n_processors(),
        again=again,
        perform=perform,
        on_step=events.step,
    )
    for path in parts_of_others(contents) - {scan.resolve() for scan in request.scans}:
        del contents[path]
    manifest.want(enrol(manifest, contents, wishes))
    todo: dict[int, list[Slice]] = {}
    for block, one in manifest.open_blocks():
        todo.setdefault(block, []).append(one)
    largest = needs((entry for found in contents.values() for entry in found.entries), wishes)
    return [tuple(block) for block in todo.values()][: request.limit], largest


def _work_through(
    request: BatchRequest, files: Sequence[Path], folder: BatchFolder, run: RunLock, work: Work, perform: Perform
) -> None:
    todo, largest = _planned(request, files, folder.manifest, run, folder.events, perform)
    n_workers = request.workers or largest.workers_that_fit(max(len(todo), 1))
    # How many workers a Dask cluster has, nobody can say before it works.
    known = (0.0, 1) if request.dask else (largest.seconds, min(n_workers, max(len(todo), 1)))
    folder.begin(*known)
    if not todo:
        return
    largest.require_room(request.out, sum(map(len, todo)))
    config = request.wishes.config.as_json()
    Scheduler(
        folder.manifest,
        run,
        work,
        job_of=lambda claimed: Job(
            slices=claimed,
            folder=request.out.resolve(),
            config=config,
            seed=request.wishes.seed,
            config_file=request.config_file,
            overrides=request.overrides,
            choice=request.wishes.choice,
        ),
        connect=lambda: _connect(request, n_workers, largest),
        perform=perform,
        limits=Limits(
            slice_s=request.time_limit_s,
            jobs=request.limit,
            no_room=lambda: largest.lack_of_room(request.out, n_workers),
        ),
        on_settled=folder.settled,
    ).run()


def _connect(request: BatchRequest, n_workers: int, largest: Needs) -> AbstractContextManager[Workers]:
    if request.dask is not None:
        return dask_workers(request.dask, threads=request.threads or 1)
    if request.slurm is not None:
        limit = None if request.time_limit_s is None else request.time_limit_s * largest.rows
        logs = request.out.resolve() / "slurm"
        return slurm_workers(request.slurm, n_workers, threads=request.threads or 1, logs=logs, time_limit_s=limit)
    return local_workers(n_workers, threads=request.threads or max(1, torch.get_num_threads() // n_workers))
