"""The scheduler with executors that fail in every way they can; the work itself is done in threads, or in children."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from ctuq import batch_scheduler
from ctuq.batch_database import open_database
from ctuq.batch_executors import SubmittedJobs, Workers
from ctuq.batch_job import Job, Slice
from ctuq.batch_manifest import Manifest
from ctuq.batch_scheduler import Limits, Scheduler
from ctuq.errors import CtuqError
from ctuq.run_lock import RunLock, is_alive
from ctuq.worker_process import in_child
from tests.ctuq.fake_batch import die_in_row_one, files, here, quick, result


class Batch:
    """A manifest with slices to do, and a run."""

    def __init__(self, folder: Path, *, n_rows: int = 4, block: int = 1) -> None:
        self.folder = folder / "out"
        self.folder.mkdir()
        self.manifest = Manifest(self.folder, open_database(self.folder))
        self.run = RunLock(self.folder)
        self.slices = [
            Slice(scan="vol", row=row, source=folder, entry="", n_rows=n_rows, pitch_mm=1.0, key="k")
            for row in range(n_rows)
        ]
        with self.manifest.exclusive():
            for one in self.slices:
                self.manifest.put(one, "pending")
        self.manifest.want([tuple(self.slices[row : row + block]) for row in range(0, n_rows, block)])

    def scheduler(self, work: Any, connect: Any, *, perform: Any = here, limits: Limits | None = None) -> Scheduler:
        return Scheduler(
            self.manifest,
            self.run,
            work,
            job_of=lambda claimed: Job(slices=claimed, folder=self.folder, config={}, seed=0),
            connect=connect,
            perform=perform,
            limits=limits,
        )

    def states(self) -> list[str]:
        return [record.state for record in self.manifest.records("vol")]

    def reasons(self) -> list[str]:
        return [record.reason for record in self.manifest.records("vol")]


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    made = Batch(tmp_path)
    yield made
    made.run.release()
    made.manifest.close()


@contextmanager
def threads(n: int = 2) -> Iterator[Workers]:
    with ThreadPoolExecutor(n) as executor:
        yield Workers(executor, lambda: n, 1)


class Breaking(Executor):
    """Breaks when it has been given so many jobs, and all that it holds with it, as a process pool does."""

    def __init__(self, after: int) -> None:
        self._left = after
        self._held: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._left < 0:
            raise BrokenExecutor
        self._left -= 1
        future: Future[Any] = Future()
        self._held.append(future)
        if self._left < 0:
            for held in self._held:
                held.set_exception(BrokenExecutor("a process died"))
        elif self._left > 0:
            future.set_result(function(*args, **kwargs))
            self._held.remove(future)
        return future


def test_everything_is_done_once(batch: Batch) -> None:
    batch.scheduler(quick, threads).run()
    assert batch.states() == ["done"] * 4
    assert [record.attempts for record in batch.manifest.records("vol")] == [1] * 4


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_broken_pool_is_made_anew_and_nobody_is_to_blame(batch: Batch, after: int) -> None:
    pools = iter([Breaking(after), Breaking(after)])
    connected = []

    @contextmanager
    def connect() -> Iterator[Workers]:
        pool = next(pools, None)
        connected.append(pool)
        if pool is None:
            with threads() as workers:
                yield workers
        else:
            yield Workers(pool, lambda: 2, 1)

    batch.scheduler(quick, connect).run()
    assert batch.states() == ["done"] * 4
    assert len(connected) >= 2


def test_a_pool_that_always_breaks_ends_the_run_which_can_go_on(batch: Batch) -> None:
    @contextmanager
    def connect() -> Iterator[Workers]:
        yield Workers(Breaking(0), lambda: 2, 1)

    with pytest.raises(CtuqError, match="lost 3 times"):
        batch.scheduler(quick, connect).run()
    assert batch.states() == ["pending"] * 4


def test_a_cluster_that_has_no_workers_at_the_moment_is_waited_for(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_scheduler, "_POLL_S", 0.01)
    slots = iter([0, 0, 1, 0, 0])

    @contextmanager
    def connect() -> Iterator[Workers]:
        with ThreadPoolExecutor(1) as executor:
            yield Workers(executor, lambda: next(slots, 1), 1)

    batch.scheduler(quick, connect).run()
    assert batch.states() == ["done"] * 4


def test_a_cluster_that_never_has_workers_is_an_error_and_the_slices_stay(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_scheduler, "_POLL_S", 0.01)
    monkeypatch.setattr(batch_scheduler, "_PATIENCE_S", 0.05)

    @contextmanager
    def connect() -> Iterator[Workers]:
        with ThreadPoolExecutor(1) as executor:
            yield Workers(executor, lambda: 0, 1)

    with pytest.raises(CtuqError, match="there has been none for"):
        batch.scheduler(quick, connect).run()
    assert batch.states() == ["pending"] * 4


class OneJob(Executor):
    """Does one job, and is broken."""

    def __init__(self) -> None:
        self._left = 1

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self._left:
            future.set_result(function(*args, **kwargs))
        else:
            future.set_exception(BrokenExecutor("a process died"))
        self._left = 0
        return future


def test_pools_that_break_again_and_again_but_work_in_between_do_not_end_the_run(tmp_path: Path) -> None:
    batch = Batch(tmp_path, n_rows=8)

    @contextmanager
    def connect() -> Iterator[Workers]:
        yield Workers(OneJob(), lambda: 2, 1)

    batch.scheduler(quick, connect).run()
    assert batch.states() == ["done"] * 8
    batch.run.release()
    batch.manifest.close()


def test_a_killed_process_of_a_real_pool_breaks_it_and_the_run_goes_on(batch: Batch) -> None:
    """With `here`, the work is in the pool's own processes, and the first of them is killed from outside."""
    pools: list[ProcessPoolExecutor] = []

    @contextmanager
    def connect() -> Iterator[Workers]:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            pools.append(pool)
            if len(pools) == 1:
                pool.submit(os.getpid).result()
                threading.Timer(0.0, os.kill, (next(iter(pool._processes)), signal.SIGKILL)).start()
                time.sleep(0.3)
            yield Workers(pool, lambda: 2, 1)

    batch.scheduler(quick, connect).run()
    assert len(pools) == 2
    assert batch.states() == ["done"] * 4


def test_a_worker_that_dies_fails_the_slice_it_was_at_and_no_other(tmp_path: Path) -> None:
    batch = Batch(tmp_path, block=4)
    batch.scheduler(die_in_row_one, threads, perform=in_child).run()
    assert batch.states() == ["done", "failed", "done", "done"]
    assert "ended by SIGKILL (out of memory, or somebody killed it): the end" in batch.reasons()[1]
    assert [name for name in files(batch.folder) if "part" in name.rsplit("/", maxsplit=1)[-1]] == []
    batch.run.release()
    batch.manifest.close()


def test_the_limit_of_a_row_is_not_that_of_its_job(tmp_path: Path) -> None:
    batch = Batch(tmp_path, block=4)
    limits: list[float | None] = []

    def noted(call: Any) -> Any:
        limits.append(call.time_limit_s)
        return here(call)

    batch.scheduler(quick, threads, perform=noted, limits=Limits(slice_s=7.0)).run()
    assert limits == [7.0]
    batch.run.release()
    batch.manifest.close()


def full(job: Any) -> Iterator[Any]:
    yield from ()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def silent(job: Any) -> Iterator[Any]:
    yield from ()


@pytest.mark.parametrize(("work", "reason"), [(full, "No space left"), (silent, "without a result")])
def test_work_that_raises_or_says_nothing_is_a_failure(batch: Batch, work: Any, reason: str) -> None:
    batch.scheduler(work, threads).run()
    assert batch.states() == ["failed"] * 4
    assert all(reason in text for text in batch.reasons())


def unpicklable(call: Any) -> Any:
    raise TypeError("cannot pickle 'socket'")


def test_what_an_executor_raises_is_the_slices_failure(batch: Batch) -> None:
    batch.scheduler(quick, threads, perform=unpicklable).run()
    assert set(batch.reasons()) == {"TypeError: cannot pickle 'socket'"}


def test_an_interruption_gives_back_what_is_in_flight(batch: Batch) -> None:
    began = threading.Event()

    def slow(call: Any) -> Any:
        began.set()
        while call.lifeline.stat().st_size == 0:
            time.sleep(0.01)
        raise RuntimeError("stopped")

    def interrupt() -> str:
        if began.wait(0):
            raise KeyboardInterrupt
        return ""

    def no_room() -> str:
        time.sleep(0.05)
        return interrupt()

    with pytest.raises(KeyboardInterrupt):
        batch.scheduler(quick, threads, perform=slow, limits=Limits(no_room=no_room)).run()
    assert batch.states() == ["pending"] * 4


def test_two_schedulers_on_one_folder_do_everything_once(tmp_path: Path) -> None:
    first = Batch(tmp_path, n_rows=30)
    made: list[list[str]] = [[], []]

    def other(index: int) -> None:
        manifest = Manifest(first.folder, open_database(first.folder))
        manifest.want([(one,) for one in first.slices])
        run = RunLock(first.folder)
        Scheduler(
            manifest,
            run,
            quick,
            job_of=lambda claimed: Job(slices=claimed, folder=first.folder, config={}, seed=0),
            connect=threads,
            perform=here,
            on_settled=lambda scan, results: made[index].extend(str(one.row) for one in results),
        ).run()
        run.release()
        manifest.close()

    both = [threading.Thread(target=other, args=(index,)) for index in (0, 1)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(map(int, made[0] + made[1])) == list(range(30))
    assert all(record.attempts == 1 for record in first.manifest.records("vol"))
    first.run.release()
    first.manifest.close()


def test_what_a_run_lost_to_another_it_does_not_write_down(batch: Batch) -> None:
    claimed = batch.manifest.claim(batch.run.name, lambda _: True)
    other = RunLock(batch.folder)
    batch.manifest.claim(other.name, lambda owner: owner != batch.run.name)
    batch.manifest.settle(batch.run.name, "vol", [result(claimed[0].row, "mine")])
    assert batch.states()[0] == "running"
    other.release()
    assert not is_alive(other.path)


class FakeSubmitter:
    """submitit's executor, without a cluster."""

    def __init__(self) -> None:
        self.cancelled = 0

    def submit(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        owner = self

        class Job:
            def __init__(self) -> None:
                self._asked = 0

            def done(self) -> bool:
                self._asked += 1
                return self._asked > 1

            def result(self) -> Any:
                return function(*args, **kwargs)

            def cancel(self) -> None:
                owner.cancelled += 1

        return Job()


def test_jobs_of_a_cluster_are_futures(batch: Batch) -> None:
    executor = SubmittedJobs(FakeSubmitter(), poll_s=0.01)

    @contextmanager
    def connect() -> Iterator[Workers]:
        with executor:
            yield Workers(executor, lambda: 3, 1)

    batch.scheduler(quick, connect).run()
    assert batch.states() == ["done"] * 4
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(print)


def test_failures_and_cancellation_of_cluster_jobs() -> None:
    submitter = FakeSubmitter()
    executor = SubmittedJobs(submitter, poll_s=0.01)
    assert isinstance(executor.submit(unpicklable, None).exception(), TypeError)
    slow = SubmittedJobs(submitter, poll_s=60)
    slow.submit(print)
    slow.shutdown(wait=False, cancel_futures=True)
    executor.shutdown()
    assert submitter.cancelled == 1
