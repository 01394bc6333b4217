"""Scans an hour with one worker and with two, in alternation; what the batch itself costs; memory over the run.

    python -m tests.benchmarks.batch_throughput --scans 40 --repeats 3

Overhead per scan, with one worker: from the first scan's end to the last one's, less what the jobs took by their own
clocks, divided by the scans; what comes once (imports, looking at the files, the page) is `start_seconds` and
`end_seconds`. Memory is resident, sampled every second.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.batch_cases import start, workers_of, write_scans
from tests.benchmarks.environment import save


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of the fit: a scan should take some seconds")
    parser.add_argument("--name", default="batch_throughput")
    options = parser.parse_args()
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        scans = write_scans(Path(name) / "scans", options.scans)
        for repeat in range(options.repeats):
            for workers in (1, 2) if repeat % 2 == 0 else (2, 1):
                out = Path(name) / f"out-{repeat}-{workers}"
                runs[workers].append(measured(start(scans, out, *_words(workers, options.steps)), out))
    seconds = {workers: statistics.median(run["seconds"] for run in of) for workers, of in runs.items()}
    figures = {
        "seconds": seconds,
        "speed_up": seconds[1] / seconds[2],
        "speed_up_without_start": _ratio(runs, "working_seconds"),
        "overhead_s_per_scan": statistics.median(run["overhead_s"] for run in runs[1]),
        "runs": runs,
    }
    print(save(options.name, {"options": vars(options), **figures}))


def _words(workers: int, steps: int) -> list[str]:
    return ["--workers", str(workers), "--set", f"fit.steps={steps}"]


def _ratio(runs: dict[int, list[dict[str, Any]]], name: str) -> float:
    one, two = (statistics.median(run[name] for run in runs[workers]) for workers in (1, 2))
    return float(one / two)


def measured(process: subprocess.Popen[bytes], out: Path) -> dict[str, Any]:
    """Wait for a run, and say what it took."""
    began, began_at = time.monotonic(), time.time()
    memory: list[tuple[float, float, list[float]]] = []
    while process.poll() is None:
        resident = [_resident_mb(pid) for pid in workers_of(process.pid)]
        memory.append((time.monotonic() - began, _resident_mb(process.pid), resident))
        time.sleep(1.0)
    events = [json.loads(line) for line in out.with_name(f"{out.name}.log").read_text().splitlines() if line[:1] == "{"]
    (closing,) = (event for event in events if event["event"] == "batch")
    assert process.returncode == 0, closing
    database = sqlite3.connect(out / "manifest.sqlite")
    times = database.execute("SELECT started, ended, seconds FROM slices ORDER BY ended").fetchall()
    database.close()
    first, last = min(started for started, _, _ in times), times[-1][1]
    between = last - times[0][1] - sum(seconds for _, _, seconds in times[1:])
    return {
        "seconds": closing["seconds"],
        "start_seconds": first - began_at,
        "working_seconds": last - first,
        "end_seconds": time.time() - last,
        "job_seconds": sum(seconds for _, _, seconds in times),
        "overhead_s": between / max(1, len(times) - 1),
        "parent_mb": _quarters([parent for _, parent, _ in memory]),
        "worker_mb": _quarters([max(workers) for _, _, workers in memory if workers]),
    }


def _quarters(samples: list[float]) -> list[float]:
    """The largest of each quarter of the run: flat where the last is as the second."""
    step = max(1, len(samples) // 4)
    return [round(max(samples[start : start + step]), 1) for start in range(0, step * 4, step) if samples[start:]]


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    main()
