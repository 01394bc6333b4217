"""A batch is killed at random moments, parent or worker, and started again each time; then what is left is judged.

    python -m tests.benchmarks.batch_kills --kills 30

Figures: kills, slices begun more than once and whether each of them had been in flight, finished results that were
written again (none may be), orphaned workers and how long they lived, leftovers, differences from an uninterrupted run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.batch_cases import (
    alive,
    differences,
    leftovers,
    result_of,
    rows_of,
    start,
    workers_of,
    write_scans,
)
from tests.benchmarks.environment import save

_AT_THE_START = 0.2  # share of the kills that come before there is work, perhaps


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--scans", type=int, default=30)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="batch_kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = killed(Path(folder), options)
    print(save(options.name, {"options": vars(options), **figures}))


@dataclass(frozen=True)
class Kill:
    """One of them: whom, what was in flight, which workers outlived their parent by five seconds, how long any did."""

    victim: str
    had_ended: bool
    in_flight: tuple[str, ...]
    orphans: tuple[int, ...]
    orphans_lived_s: float


def killed(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Kill and judge."""
    scans = write_scans(folder / "scans", options.scans, n_rows=options.rows)
    reference, out = folder / "reference", folder / "out"
    workers = ("--workers", str(options.workers))
    began = time.monotonic()
    assert start(scans, reference, *workers).wait() == 0
    a_slice_s = options.workers * (time.monotonic() - began) / len(rows_of(reference))
    draw = random.Random(options.seed)
    finished: dict[str, tuple[int, int]] = {}
    kills = [_kill_once(scans, out, workers, draw, 2 * a_slice_s, finished) for _ in range(options.kills)]
    unsettled = sum(row["state"] != "done" for row in rows_of(out))
    code = start(scans, out, *workers, "--retry-failed").wait()
    rows = rows_of(out)
    return {
        "kills": [asdict(kill) for kill in kills],
        "exit_code": code,
        "slices": len(rows),
        "unsettled_after_the_last_kill": unsettled,
        "longest_wait_before_a_kill_s": 2 * a_slice_s,
        "states": sorted({str(row["state"]) for row in rows}),
        "begun": sum(int(str(row["attempts"])) for row in rows),
        "in_flight_when_killed": sum(len(kill.in_flight) for kill in kills),
        "finished_and_written_again": [name for name, mark in finished.items() if _mark(out / name) != mark],
        "orphans": sum(len(kill.orphans) for kill in kills),
        "longest_orphan_s": max(kill.orphans_lived_s for kill in kills),
        "leftovers": leftovers(out),
        "differences": differences(out, reference),
    }


def _kill_once(
    scans: Path,
    out: Path,
    workers: tuple[str, ...],
    draw: random.Random,
    longest_s: float,
    finished: dict[str, tuple[int, int]],
) -> Kill:
    process = start(scans, out, *workers, "--retry-failed")
    if draw.random() < _AT_THE_START:
        time.sleep(draw.uniform(0.5, 15.0))
    else:  # on a busy machine the imports alone take longer than that
        _until_work(process, out)
        time.sleep(draw.uniform(0.0, longest_s))
    children = workers_of(process.pid)
    victim = draw.choice(["parent", "worker"])
    in_flight = [row for row in rows_of(out) if row["state"] == "running"]
    after = process.poll()
    if victim == "worker" and children:
        os.kill(draw.choice(children), signal.SIGKILL)
        time.sleep(draw.uniform(0.0, 2.0))  # it notices, and goes on
        in_flight += [row for row in rows_of(out) if row["state"] == "running" and row not in in_flight]
    else:
        victim = "parent"
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    orphans, lived = _orphans([*children, *workers_of(process.pid)])
    for row in rows_of(out):
        if row["state"] == "done":
            finished.setdefault(result_of(row), _mark(out / result_of(row)))
    labels = tuple(f"{row['scan']}:{row['row']}" for row in in_flight)
    return Kill(victim, after is not None, labels, tuple(orphans), lived)


def _until_work(process: subprocess.Popen[bytes], out: Path) -> None:
    """Until a slice is in flight, or there is nothing to do."""
    while process.poll() is None:
        running = (row for row in rows_of(out) if row["state"] == "running")
        if any(f"-{process.pid}-" in str(row["owner"]) for row in running):  # others are of a run killed before
            return
        time.sleep(0.1)


def _orphans(children: list[int]) -> tuple[list[int], float]:
    """Workers that outlive their parent by more than five seconds, and how long the longest lived."""
    began = time.monotonic()
    while (left := alive(children)) and time.monotonic() - began < 5:
        time.sleep(0.02)
    return left, time.monotonic() - began


def _mark(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


if __name__ == "__main__":
    main()
