"""The 200 scans of `damaged_inputs` in one `ctuq batch`: is each damaged one a failure by name, and none its end?

    python -m tests.benchmarks.damaged_batch

Worker processes, time limits and manifest are the batch's own. The work on a row is to read it and write a few numbers:
a reconstruction takes longer and adds nothing to the question. Damage that `damaged_inputs` finds unharmed or unseen
may have results; of what it refuses, rows that are whole may have some beside the row that is not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ctuq.batch import BatchRequest, run_batch
from ctuq.batch_database import open_database
from ctuq.batch_manifest import Manifest
from ctuq.batch_planning import Wishes
from ctuq.config import load_config
from tests.benchmarks.damaged_inputs import Outcome, outcomes
from tests.benchmarks.environment import save
from tests.ctuq.fake_batch import Silent, write_image


def read_only(job: Any) -> Iterator[Any]:
    """Read the rows of a job, and write a few numbers for each that is a scan."""
    from ctuq.archive import read_rows  # noqa: PLC0415
    from ctuq.batch_job import SliceResult  # noqa: PLC0415
    from ctuq.errors import InputError  # noqa: PLC0415

    rows = {one.row: one for one in job.slices}
    for row, scan in read_rows(job.slices[0].source, list(rows), job.source_choice):
        if isinstance(scan, InputError):
            yield SliceResult(row=row, reason=str(scan))
        else:
            write_image(job.folder / rows[row].result, 1.0)
            yield SliceResult(row=row)


def in_one_batch(paths: Sequence[Path], out: Path) -> tuple[dict[Path, Counter[str]], float]:
    """Slices of each input by how they ended, and seconds."""
    request = BatchRequest(scans=tuple(paths), out=out, wishes=Wishes(config=load_config()), workers=2, threads=1)
    closing = run_batch(request, Silent(), work=read_only)
    manifest = Manifest(out, open_database(out))
    found: dict[Path, Counter[str]] = {path: Counter() for path in paths}
    for scan in manifest.scans():
        for record in manifest.records(scan):
            found[record.slice.source][record.state] += 1
    manifest.close()
    return found, closing.seconds


def judge(folder: Path, *, share: float, seed: int) -> dict[str, Any]:
    """Figures of a share of the inputs."""
    alone: list[Outcome] = []
    paths: list[Path] = []
    for outcome in outcomes(folder, share=share, seed=seed):
        number = sum(other.damage == outcome.damage for other in alone)
        place = folder.resolve() / f"{outcome.damage}_{number}"
        paths.append(next(path for path in (place / "scan.h5", place / "scan.toml") if path.exists()))
        alone.append(outcome)
    slices, seconds = in_one_batch(paths, folder / "out")
    refused = [path for path, outcome in zip(paths, alone, strict=True) if outcome.ended not in ("unharmed", "unseen")]
    return {
        "inputs": len(paths),
        "refused_alone": len(refused),
        "failed_in_batch": sum(slices[path]["failed"] > 0 for path in refused),
        "without_result": sum(slices[path]["done"] == 0 for path in refused),
        "not_settled": sum(slices[path]["pending"] + slices[path]["running"] for path in paths),
        "not_in_manifest": sum(not slices[path] for path in paths),
        "seconds": seconds,
    }


def main() -> None:
    """Run all, print, save results/damaged_batch.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--share", type=float, default=1.0)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = judge(Path(folder), share=asked.share, seed=asked.seed)
    print(json.dumps(figures, indent=1))
    if asked.share == 1:
        save("damaged_batch", {**figures, "seed": asked.seed})


if __name__ == "__main__":
    main()
