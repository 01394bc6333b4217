from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ctuq.errors import InputError
from ctuq.run_lock import RunLock, is_alive, remove_dead, wants_work


def test_a_run_lives_from_its_beginning_to_its_release(tmp_path: Path) -> None:
    run = RunLock(tmp_path)
    assert is_alive(run.path)
    assert wants_work(run.path)
    run.stop()
    assert is_alive(run.path)
    assert not wants_work(run.path)
    run.release()
    assert not is_alive(run.path)
    assert not wants_work(run.path)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_share_a_name_even_in_one_process(tmp_path: Path) -> None:
    one, other = RunLock(tmp_path), RunLock(tmp_path)
    assert one.name != other.name
    one.release()
    assert is_alive(other.path)
    other.release()


def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from ctuq.run_lock import RunLock\n"
        f"run = RunLock(Path({str(tmp_path)!r})); print(run.path, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        path = Path(other.stdout.readline().strip())
        assert is_alive(path)
        remove_dead(tmp_path)
        assert path.exists()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert path.exists()
        assert not is_alive(path)
        assert not wants_work(path)
    remove_dead(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be written to"):
        RunLock(tmp_path / "nowhere")
