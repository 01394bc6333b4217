"""Work in a process of its own: what crashes, hangs or is killed there is an answer here.

`in_child` is what the batch submits to an executor, whatever that is: threads of this process, a Dask cluster, a Slurm
job. Wherever it runs it keeps one worker process for each thread, and watches over it.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from ctuq.errors import CtuqError
from ctuq.run_lock import wants_work
from ctuq.whole_file import remove_parts

_POLL_S = 0.5  # a run that is stopped or dead is noticed so soon
_START_S = 300.0  # for imports from a busy network disk
_here = threading.local()


@dataclass(frozen=True, kw_only=True)
class Call:
    """Something to do in a worker process.

    Args:
        work: a function of a module; what it yields comes back item by item.
        argument: of `work`; pickled.
        lifeline: lock of the run that wants it; without that run the work is given up.
        outputs: files it writes; what dead workers left of them is removed first.
        time_limit_s: for each item, after which the worker is killed; None: never.
        threads: of numerical libraries, in the worker.
        on_item: told each item as it comes; where the call is done in a thread of this process.
    """

    work: Callable[[Any], Iterable[Any]]
    argument: Any
    lifeline: Path
    outputs: tuple[Path, ...] = ()
    time_limit_s: float | None = None
    threads: int = 1
    on_item: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    Args:
        items: yielded before it ended, in order.
        failure: why it ended before its time; None: it did not.
    """

    items: tuple[Any, ...]
    failure: str | None = None


class RunEndedError(CtuqError):
    """The run that wanted the work is stopped or dead."""


def in_child(call: Call) -> Answer:
    """Do it in this thread's worker process, started if need be.

    Raises:
        RunEndedError: nobody wants the answer any more.
    """
    if not wants_work(call.lifeline):
        raise RunEndedError(f"{socket.gethostname()} does not see {call.lifeline}, or the run has ended")
    remove_parts(call.outputs)
    worker = getattr(_here, "worker", None)
    if worker is None or not worker.fits(call):
        _here.worker = worker = WorkerProcess(threads=call.threads)
    try:
        answer: Answer = worker.answer(call)
    finally:
        if not worker.fits(call):  # it was killed or died by itself, perhaps while writing
            remove_parts(call.outputs)
    return answer


class WorkerProcess:
    """One process that answers one call at a time. It ends when this object does, or this process.

    Args:
        threads: of numerical libraries.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._pipe, its_end = Pipe()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        # -P, and the path of this process: as if the worker had been forked from here. A session of its own keeps a
        # terminal's Ctrl-C away from it.
        self._process = subprocess.Popen(  # noqa: S603  our own file
            [sys.executable, "-P", str(Path(__file__).with_name("worker_main.py")), str(its_end.fileno())],
            pass_fds=(its_end.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            | dict.fromkeys(libraries, str(threads)),
        )
        its_end.close()  # now its death closes the pipe
        self._end = weakref.finalize(self, _end, self._process, self._pipe, self._log)
        self._ready = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def fits(self, call: Call) -> bool:
        """Whether it lives and has the threads that the call wants."""
        return self._end.alive and self._process.poll() is None and self._threads == call.threads

    def answer(self, call: Call) -> Answer:
        """Do it there, and wait.

        Raises:
            RunEndedError: the run that wanted it is stopped or dead; so is the worker then.
        """
        items: list[Any] = []
        begun = False
        try:
            if not self._ready:
                self._next(call.lifeline, time.monotonic() + _START_S)
                self._ready = True
            self._log.seek(0)  # the worker writes through the same position
            self._log.truncate()
            self._pipe.send((call.work, call.argument))
            self._next(call.lifeline, time.monotonic() + _START_S)  # imports are not the work's own time
            begun = True
            limit = math.inf if call.time_limit_s is None else call.time_limit_s
            while True:
                kind, value = self._next(call.lifeline, time.monotonic() + limit)
                if kind != "item":
                    return Answer(tuple(items), None if kind == "end" else value[0])
                items.append(value)
                if call.on_item is not None:
                    call.on_item(value)
        except TimeoutError:
            self._end()
            what = f"took longer than the limit of {call.time_limit_s:g} s" if begun else "did not start"
            return Answer(tuple(items), f"{what}; the worker was killed")
        except (EOFError, OSError):
            return Answer(tuple(items), self._obituary())
        except BaseException:
            self._end()
            raise

    def _next(self, lifeline: Path, deadline: float) -> tuple[str, Any]:
        while not self._pipe.poll(max(0.0, min(_POLL_S, deadline - time.monotonic()))):
            if not wants_work(lifeline):
                raise RunEndedError(f"the run of {lifeline} has ended")
            if time.monotonic() >= deadline:
                raise TimeoutError
        message: tuple[str, Any] = self._pipe.recv()
        return message

    def _obituary(self) -> str:
        code = self._process.wait()
        how = f"with exit code {code}"
        if code < 0:
            how = f"by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (out of memory, or somebody killed it)"
        self._log.seek(0)
        last = self._log.read()[-2000:].decode(errors="replace").strip().rpartition("\n")[2]
        self._end()
        return f"the worker process ended {how}{f': {last}' if last else ''}"


def _end(process: subprocess.Popen[bytes], pipe: Connection[Any, Any], log: IO[bytes]) -> None:
    process.kill()
    process.wait()
    pipe.close()
    log.close()
