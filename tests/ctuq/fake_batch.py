"""What the tests of the batch share: work that computes nothing, and scans of a few numbers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np

from ctuq.batch import BatchRequest
from ctuq.batch_planning import Wishes
from ctuq.config import Config, load_config


def result(row: int, reason: str = "") -> Any:
    """A SliceResult without what it takes to import one: workers of these tests start in milliseconds."""
    from ctuq.batch_job import SliceResult  # noqa: PLC0415

    return SliceResult(
        row=row, reason=reason, seconds=0.1, host="here", median_std=0.001, chi_square=1.0, calibrated=True
    )


def write_image(path: Path, value: float) -> None:
    """As much of a result as a volume asks for."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["entry/title"] = "fake"
        for name in ("data", "data_errors"):
            file[f"entry/data/{name}"] = np.full((1, 2, 3), value, np.float32)
        file["entry/data/y"], file["entry/data/x"] = np.arange(2.0), np.arange(3.0)


def quick(job: Any) -> Iterator[Any]:
    """Write one number a slice, and remember in a file beside the folder that it was done."""
    for one in job.slices:
        with job.folder.with_name("done.txt").open("a") as done:
            done.write(f"{one.label}\n")
        write_image(job.folder / one.result, one.row)
        yield result(one.row)


def fail_odd(job: Any) -> Iterator[Any]:
    """Rows with odd numbers fail."""
    for one in job.slices:
        if one.row % 2:
            yield result(one.row, "odd")
        else:
            write_image(job.folder / one.result, one.row)
            yield result(one.row)


def die_in_row_one(job: Any) -> Iterator[Any]:
    """Row 1 takes its process with it, with a file half written."""
    for one in job.slices:
        if one.row == 1:
            part = job.folder / f"{one.scan}.parts" / f".row-00001.h5~{os.getpid()}.part"
            part.write_text("half")
            print("the end", file=sys.stderr, flush=True)  # noqa: T201
            os.kill(os.getpid(), signal.SIGKILL)
        write_image(job.folder / one.result, one.row)
        yield result(one.row)


def interrupted(job: Any) -> Iterator[Any]:
    """The second job is interrupted; only where work is done in this process."""
    if job.slices[0].scan == "scan1":
        raise KeyboardInterrupt
    yield from quick(job)


def here(call: Any) -> Any:
    """Do a call in this process."""
    from ctuq.worker_process import Answer  # noqa: PLC0415

    try:
        return Answer(tuple(call.work(call.argument)))
    except Exception as error:  # noqa: BLE001  as a worker does
        return Answer((), f"{type(error).__name__}: {error}")


class Silent:
    """Events that are remembered."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self.steps: list[tuple[str, int, int]] = []
        self.infos: list[Mapping[str, float]] = []
        self.notes: list[Mapping[str, object]] = []

    def step(self, stage: str, done: int, total: int, info: Mapping[str, float]) -> None:
        self.steps.append((stage, done, total))
        self.infos.append(info)

    def said(self, lines: Sequence[str], record: Mapping[str, object]) -> None: ...

    def noted(self, line: str, record: Mapping[str, object]) -> None:
        self.notes.append(record)

    def finished(self, reconstruction: object) -> None: ...

    def failed(self, message: str, exit_code: int) -> None: ...

    def close(self) -> None: ...


def write_scan(path: Path, *, n_rows: int = 1, value: float = 1.0) -> Path:
    """A sinogram file of 12 views and 16 detector pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((12, n_rows, 16), value, np.float32)
        file["exchange/data"].attrs["units"] = "line_integral"
        file["exchange/data"].attrs["axes"] = "theta:y:x"
        file["exchange/theta"] = np.linspace(0, 180, 12, endpoint=False)
        file["exchange/theta"].attrs["units"] = "deg"
        group = file.create_group("measurement/instrument/ctuq_geometry")
        group.attrs["type"], group.attrs["pitch_mm"] = "parallel", 0.5
    return path


def request(scans: Path, out: Path, *, config: Config | None = None, **changes: Any) -> BatchRequest:
    """A batch of all scans in a folder; `changes` go to the wishes or to the request, whoever knows them."""
    ours = {name: changes.pop(name) for name in list(changes) if name in Wishes.__dataclass_fields__}
    wishes = Wishes(config=config or load_config(), **ours)
    return BatchRequest(scans=(scans,), out=out, wishes=wishes, **({"workers": 1} | changes))


def files(folder: Path) -> list[str]:
    """All that is in a folder and below."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def lifeline(folder: Path) -> Iterator[SimpleNamespace]:
    """A run that lives for the block."""
    from ctuq.run_lock import RunLock  # noqa: PLC0415

    run = RunLock(folder)
    try:
        yield SimpleNamespace(path=run.path, stop=run.stop, run=run)
    finally:
        run.release()
