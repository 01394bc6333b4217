"""Several runs on one folder: two shards, two processes by mistake, and a Dask cluster whose workers are killed.

    python -m tests.benchmarks.batch_together

Each ends in a folder that must equal an uninterrupted run's, with no slice begun twice but what a killed worker had.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.batch_cases import differences, leftovers, rows_of, start, write_scans
from tests.benchmarks.environment import save


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=10)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--kills", type=int, default=3, help="of Dask's workers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="batch_together")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, reference = write_scans(folder / "scans", options.scans, n_rows=options.rows), folder / "reference"
        assert start(scans, reference, "--workers", "1").wait() == 0
        shards = together(scans, folder / "shards", reference, ["--shard", "1/2"], ["--shard", "2/2"])
        twice = together(scans, folder / "twice", reference, [], [])
        dask = through_dask(scans, folder / "dask", reference, options)
    print(save(options.name, {"options": vars(options), "two_shards": shards, "twice": twice, "dask": dask}))


def together(scans: Path, out: Path, reference: Path, *options: list[str]) -> dict[str, Any]:
    """Two runs at the same time."""
    processes = [start(scans, out, "--workers", "1", *more) for more in options]
    codes = [process.wait() for process in processes]
    return judged(out, reference) | {"exit_codes": codes}


def judged(out: Path, reference: Path) -> dict[str, Any]:
    """What is left of a batch."""
    rows = rows_of(out)
    shares: dict[str, int] = {}
    for row in rows:
        shares[str(row["owner"])] = shares.get(str(row["owner"]), 0) + 1
    return {
        "slices": len(rows),
        "done": sum(row["state"] == "done" for row in rows),
        "begun": sum(int(str(row["attempts"])) for row in rows),
        "by_run": sorted(shares.values()),
        "leftovers": leftovers(out),
        "differences": differences(out, reference),
    }


def through_dask(scans: Path, out: Path, reference: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A run on a Dask cluster of two workers, which are killed at random moments; then the run itself, once."""
    from distributed import LocalCluster  # noqa: PLC0415

    draw = random.Random(options.seed)
    victims: list[str] = []
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        words = ("--dask", cluster.scheduler_address)
        process = start(scans, out, *words)
        for _ in range(options.kills):
            _wait_for_work(process, out)
            time.sleep(draw.uniform(1.0, 6.0))
            workers = [nanny.pid for nanny in cluster.workers.values() if nanny.pid is not None]
            if process.poll() is None and workers:
                os.kill(draw.choice(workers), signal.SIGKILL)
                victims.append("worker")
        _wait_for_work(process, out)
        in_flight = sum(row["state"] == "running" for row in rows_of(out))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            victims.append("run")
        process.wait()
        time.sleep(3)  # workers notice that nobody wants their work
        codes = [process.returncode, start(scans, out, *words, "--retry-failed").wait()]
    return judged(out, reference) | {
        "exit_codes": codes,
        "killed": victims,
        "in_flight_when_the_run_was_killed": in_flight,
    }


def _wait_for_work(process: subprocess.Popen[bytes], out: Path) -> None:
    while process.poll() is None and not any(row["state"] == "running" for row in rows_of(out)):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
