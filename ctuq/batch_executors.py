"""Where a batch's jobs run: threads of this process, a Dask cluster, Slurm. Each is a `concurrent.futures.Executor`.

The job itself always runs in a worker process of whoever was given it (`ctuq.worker_process.in_child`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ctuq.errors import CtuqError, InputError


@dataclass(frozen=True)
class Workers:
    """An executor, and how much it can do at once.

    Args:
        executor: that takes jobs.
        slots: how many it can work on at once, now.
        threads: of numerical libraries, in each worker.
    """

    executor: Executor
    slots: Callable[[], int]
    threads: int


@contextmanager
def local_workers(n_workers: int, *, threads: int) -> Iterator[Workers]:
    """So many worker processes on this machine."""
    with ThreadPoolExecutor(n_workers, thread_name_prefix="ctuq-worker") as executor:
        yield Workers(executor, lambda: n_workers, threads)


@contextmanager
def dask_workers(address: str, *, threads: int) -> Iterator[Workers]:
    """The workers of a Dask cluster: a job for each of their threads. A task whose worker dies goes to another one.

    Raises:
        InputError: Dask is not installed.
        CtuqError: nobody answers at the address.
    """
    try:
        from distributed import Client  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise InputError("expected Dask for --dask, which is not installed: pip install 'ctuq[dask]'") from error
    try:
        client = Client(address, set_as_default=False, timeout=30)
    except (OSError, ValueError) as error:
        raise CtuqError(f"expected a Dask scheduler at {address}, got: {error}; is it running?") from error
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield Workers(executor, lambda: sum(client.nthreads().values()), threads)
        finally:
            executor.shutdown(wait=False)


@contextmanager
def slurm_workers(
    options: Mapping[str, str], n_workers: int, *, threads: int, logs: Path, time_limit_s: float | None
) -> Iterator[Workers]:
    """Jobs of a Slurm cluster, so many at once, through submitit.

    Args:
        options: of sbatch, as `partition`; `cluster=local` runs them on this machine, to try it out.
        n_workers: jobs at once.
        threads: processors for each.
        logs: folder for submitit's files, one folder a job; they stay, for whoever asks why a job failed.
        time_limit_s: of one job, or None for a day.

    Raises:
        InputError: submitit is not installed, there is no Slurm here, or it does not know an option.
    """
    try:
        import submitit  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise InputError("expected submitit for --slurm, which is not installed: pip install 'ctuq[slurm]'") from error
    rest = dict(options)
    minutes = 24 * 60 if time_limit_s is None else math.ceil(time_limit_s / 60) + 10  # ours comes first, and says so
    parameters: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": threads, "name": "ctuq"}
    try:
        submitter = submitit.AutoExecutor(folder=logs / "%j", cluster=rest.pop("cluster", None))
        submitter.update_parameters(**parameters, **{f"slurm_{name}": value for name, value in rest.items()})
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise InputError(f"expected Slurm and options that submitit knows, got: {error}") from error
    executor = SubmittedJobs(submitter)
    try:
        yield Workers(executor, lambda: n_workers, threads)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class _SubmittedJob(Protocol):
    """What we ask of submitit's Job."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...
    def cancel(self) -> None: ...


class _Submitter(Protocol):
    """What we ask of submitit's Executor."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...


class SubmittedJobs(Executor):
    """submitit's jobs as futures.

    Args:
        submitter: submitit's executor.
        poll_s: between two questions whether jobs are done.
    """

    def __init__(self, submitter: _Submitter, *, poll_s: float = 1.0) -> None:
        self._submitter, self._poll_s = submitter, poll_s
        self._open: dict[Future[Any], _SubmittedJob] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._watch = threading.Thread(target=self._watch_jobs, daemon=True)
        self._watch.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a call to the cluster."""
        if self._over.is_set():
            raise RuntimeError("cannot submit after shutdown")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        job = self._submitter.submit(function, *args, **kwargs)
        with self._lock:
            self._open[future] = job
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; cancel what is open if asked to, and wait for it if asked to."""
        with self._lock:
            open_now = dict(self._open)
        if cancel_futures:
            for job in open_now.values():
                job.cancel()
        if wait:
            wait_for(open_now)
        self._over.set()

    def _watch_jobs(self) -> None:
        while not self._over.wait(self._poll_s):
            with self._lock:
                jobs = list(self._open.items())
            for future, job in jobs:
                try:
                    if not job.done():
                        continue
                    future.set_result(job.result())
                except Exception as error:  # noqa: BLE001  it belongs to whoever waits for the future
                    future.set_exception(error)
                with self._lock:
                    del self._open[future]
