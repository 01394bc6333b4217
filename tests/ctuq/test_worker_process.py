"""Real worker processes; they import nothing heavy, so that each starts in a fraction of a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ctuq import worker_process
from ctuq.worker_process import Answer, Call, RunEndedError, in_child
from tests.ctuq import light_work
from tests.ctuq.fake_batch import lifeline


def in_fresh_thread(call: Call) -> Answer:
    """The worker belongs to the thread, and ends with it."""
    found: list[Answer] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            found.append(in_child(call))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return found[0]


def ask(tmp_path: Path, work: Any, argument: Any, **more: Any) -> Answer:
    with lifeline(tmp_path) as life:
        return in_fresh_thread(Call(work=work, argument=argument, lifeline=life.path, **more))


def test_items_come_back_in_order_and_the_process_is_another(tmp_path: Path) -> None:
    value, pid = ask(tmp_path, light_work.echo, {"a": 1}).items
    assert value == {"a": 1}
    assert pid != os.getpid()


def test_items_are_told_as_they_come(tmp_path: Path) -> None:
    told: list[Any] = []
    assert ask(tmp_path, light_work.echo, 3, on_item=told.append).items == tuple(told)


def test_a_thread_keeps_its_worker_for_the_next_call(tmp_path: Path) -> None:
    with lifeline(tmp_path) as life:
        call = Call(work=light_work.echo, argument=0, lifeline=life.path)
        pids: list[int] = []
        thread = threading.Thread(target=lambda: pids.extend(in_child(call).items[1] for _ in range(3)))
        thread.start()
        thread.join()
    assert len(set(pids)) == 1


def test_a_crash_is_an_answer_with_what_came_before_it(tmp_path: Path) -> None:
    answer = ask(tmp_path, light_work.crash, 7)
    assert answer.items == (7,)
    assert answer.failure == "the worker process ended by SIGABRT: out of luck"


def test_an_exception_is_an_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, light_work.raise_error, "no") == Answer((), "ValueError: no")


def test_what_takes_too_long_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    answer = ask(tmp_path, light_work.hang, str(pid_file), time_limit_s=0.5)
    assert answer.failure is not None
    assert "longer than the limit of 0.5 s" in answer.failure
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_every_item_has_the_whole_limit_and_no_more(tmp_path: Path) -> None:
    assert ask(tmp_path, light_work.steady, 4, time_limit_s=0.8) == Answer((0, 1, 2, 3))
    began = time.monotonic()
    answer = ask(tmp_path, light_work.stuck, 9, time_limit_s=0.5)
    assert len(answer.items) == 9
    assert "longer than the limit of 0.5 s" in str(answer.failure)
    assert time.monotonic() - began < 4


def test_imports_are_not_the_works_own_time(tmp_path: Path) -> None:
    from tests.ctuq import slow_import  # noqa: PLC0415

    assert ask(tmp_path, slow_import.echo, 3, time_limit_s=0.5) == Answer((3,))


@pytest.mark.parametrize("how", ["stop", "release"])
def test_work_for_a_run_that_ended_is_given_up(tmp_path: Path, how: str) -> None:
    with lifeline(tmp_path) as life:
        threading.Timer(0.5, getattr(life.run, how)).start()
        with pytest.raises(RunEndedError):
            in_fresh_thread(Call(work=light_work.hang, argument=str(tmp_path / "pid"), lifeline=life.path))


def test_without_the_run_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(RunEndedError, match="does not see"):
        in_child(Call(work=light_work.echo, argument=0, lifeline=tmp_path / ".run-gone.lock"))


def test_the_worker_has_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    assert ask(tmp_path, light_work.threads_of, 0, threads=3).items == ("3",)


def test_half_written_files_of_dead_workers_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    for name in (".a.h5~elsewhere-17.part", ".b.h5~elsewhere-17.part", ".a.h5.h5~elsewhere-17.part"):
        (tmp_path / name).touch()
    ask(tmp_path, light_work.crash, 7, outputs=(out,))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.h5.h5~elsewhere-17.part",
        ".b.h5~elsewhere-17.part",
    ]


def test_a_worker_dies_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "from pathlib import Path; from ctuq.run_lock import RunLock; from ctuq.worker_process import Call, in_child\n"
        "from tests.ctuq import light_work\n"
        f"folder = Path({str(tmp_path)!r}); run = RunLock(folder)\n"
        "in_child(Call(work=light_work.hang, argument=str(folder / 'pid'), lifeline=run.path))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    worker = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_at_the_terminal_does_not_reach_the_worker(tmp_path: Path) -> None:
    with lifeline(tmp_path):
        worker = worker_process.WorkerProcess(threads=1)
        assert os.getsid(worker.pid) != os.getsid(0)
