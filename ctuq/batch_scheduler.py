"""Keeps workers busy with the slices of a manifest until none is left; whatever happens to them, it never hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctuq.batch_executors import Workers
from ctuq.batch_job import Job, Slice, SliceResult, reason_of
from ctuq.batch_manifest import Manifest
from ctuq.errors import CtuqError
from ctuq.run_lock import RunLock, is_alive
from ctuq.whole_file import remove_parts
from ctuq.worker_process import Answer, Call, RunEndedError, in_child

_POLL_S = 1.0
_STOP_S = 20.0
_PATIENCE_S = 600.0  # for workers to come, where a cluster has none at the moment
_LOSSES = 3  # of all workers at once, without a slice settled in between

OnSettled = Callable[[str, Sequence[SliceResult]], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What keeps a run from going on.

    Args:
        slice_s: seconds for a slice, after which its worker is killed; None: none.
        jobs: to begin at most; None: all.
        no_room: says why no further job should begin, or nothing.
    """

    slice_s: float | None = None
    jobs: int | None = None
    no_room: Callable[[], str] = str


class Scheduler:
    """Claims slices, has them worked on, writes down what came of them.

    Args:
        manifest: whose wanted slices are done.
        run: that does it.
        work: done in the workers; a function of a module that takes a Job and yields a SliceResult for each slice.
        job_of: what to give the workers for slices that were claimed together.
        connect: lends workers; called again when they are lost.
        perform: does a call; `in_child` keeps crashes and time limits in a process of its own.
        limits: what keeps the run from going on.
        on_settled: called after slices of a scan were written down.
    """

    def __init__(
        self,
        manifest: Manifest,
        run: RunLock,
        work: Callable[[Any], Iterable[SliceResult]],
        *,
        job_of: Callable[[tuple[Slice, ...]], Job],
        connect: Callable[[], AbstractContextManager[Workers]],
        perform: Callable[[Call], Answer] = in_child,
        limits: Limits | None = None,
        on_settled: OnSettled = lambda scan, results: None,  # noqa: ARG005
    ) -> None:
        self._manifest, self._run, self._work = manifest, run, work
        self._job_of, self._connect, self._perform = job_of, connect, perform
        self._limits = limits or Limits()
        self._left = self._limits.jobs
        self._on_settled = on_settled
        self._flying: dict[Future[Answer], tuple[Slice, ...]] = {}
        self._losses = 0
        self._full = ""
        self._slots_since = time.monotonic()

    def run(self) -> None:
        """Until nothing is left to claim.

        Raises:
            KeyboardInterrupt: as it came; what was in flight is pending again, and nothing of it is left on disk.
            CtuqError: the workers were lost again and again, none came, or there is no room for results.
        """
        self._slots_since = time.monotonic()
        while True:
            with self._connect() as workers:
                try:
                    whole = self._drain(workers)
                except BaseException:
                    self._abandon()
                    raise
            if whole:
                break
        if self._full:
            raise CtuqError(self._full)

    def _drain(self, workers: Workers) -> bool:
        """True when all is settled, False when the workers were lost."""
        lost = False
        while True:
            nothing_left = False
            while not lost and not nothing_left and len(self._flying) < self._slots(workers):
                claimed = self._claim()
                nothing_left = not claimed
                lost = bool(claimed) and not self._submit(claimed, workers)
            if not self._flying:
                if lost or nothing_left:
                    return not lost
                time.sleep(_POLL_S)  # a cluster without workers at the moment
                continue
            finished, _ = wait(self._flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in finished:
                lost |= not self._settle(future, self._flying.pop(future))

    def _slots(self, workers: Workers) -> int:
        """How many jobs can be worked on now; an error where there has been no worker for long."""
        slots, now = workers.slots(), time.monotonic()
        if slots > 0:
            self._slots_since = now
        elif now - self._slots_since > _PATIENCE_S:
            raise CtuqError(
                f"expected workers, but there has been none for {_PATIENCE_S:.0f} s: start some, then run the same "
                "command again"
            )
        return slots

    def _claim(self) -> tuple[Slice, ...]:
        if self._left == 0 or self._full:
            return ()
        claimed = self._manifest.claim(self._run.name, self._alive)
        self._full = self._limits.no_room() if claimed else ""
        if self._full:
            self._manifest.give_back(self._run.name, claimed)
            return ()
        if claimed and self._left is not None:
            self._left -= 1
        return claimed

    def _alive(self, owner: str) -> bool:
        return owner == self._run.name or is_alive(self._manifest.folder / owner)

    def _submit(self, claimed: tuple[Slice, ...], workers: Workers) -> bool:
        job = self._job_of(claimed)
        call = Call(
            work=self._work,
            argument=job,
            lifeline=self._run.path,
            outputs=self._outputs(claimed),
            time_limit_s=self._limits.slice_s,
            threads=workers.threads,
        )
        try:
            future = workers.executor.submit(self._perform, call)
        except (BrokenExecutor, RuntimeError) as error:  # RuntimeError: shut down behind our back
            self._lose(claimed, error)
            return False
        self._flying[future] = claimed
        return True

    def _settle(self, future: Future[Answer], claimed: tuple[Slice, ...]) -> bool:
        """Write down what came of a job; False when its workers were lost, which is not its fault."""
        try:
            answer = future.result()
        except (BrokenExecutor, CancelledError) as error:
            self._lose(claimed, error)
            return False
        except RunEndedError as error:
            answer = Answer((), f"{error}: do all machines see the folder under the same name?")
        except Exception as error:  # noqa: BLE001  Dask's KilledWorker, what cannot be pickled, ...
            answer = Answer((), reason_of(error))
        self._losses = 0
        results = {result.row: result for result in answer.items}
        missing = [one for one in claimed if one.row not in results]
        if missing:  # the first of them was being worked on; the others are innocent
            reason = answer.failure or "the worker ended without a result"
            results[missing[0].row] = SliceResult(row=missing[0].row, reason=reason)
            remove_parts(self._outputs(missing[:1]))
        self._manifest.settle(self._run.name, claimed[0].scan, results.values())
        self._manifest.give_back(self._run.name, missing[1:])
        self._on_settled(claimed[0].scan, list(results.values()))
        return True

    def _lose(self, claimed: tuple[Slice, ...], error: BaseException) -> None:
        self._manifest.give_back(self._run.name, claimed)
        if not self._flying:
            self._losses += 1
        if self._losses >= _LOSSES:
            raise CtuqError(
                f"expected workers, but all of them were lost {_LOSSES} times ({type(error).__name__}: {error}): see "
                "why they end, then run the same command again"
            ) from error

    def _abandon(self) -> None:
        """Give up what is in flight: workers notice that the run is stopped and end what they do."""
        self._run.stop()
        for future in self._flying:
            future.cancel()
        wait(self._flying, timeout=_STOP_S)
        for claimed in self._flying.values():
            remove_parts(self._outputs(claimed))
        self._flying.clear()
        self._manifest.give_back(self._run.name)

    def _outputs(self, claimed: Iterable[Slice]) -> tuple[Path, ...]:
        return tuple(path for one in claimed for path in one.outputs(self._manifest.folder))
