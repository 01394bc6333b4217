"""Values that are declared and not on disk: HDF5 would answer with zeros, or never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctuq.hdf5_storage import storage_problem
from ctuq.scan_file import inspect
from tests.ctuq.scan_layouts import measurement, write_data_exchange

DATA = "exchange/data"
SHAPE = (12, 3, 10)


def declared(**options: Any) -> Callable[[Any], None]:
    """Created and not, or not all, written."""

    def change(file: Any) -> None:
        file.create_dataset(DATA, dtype="f4", **options)

    return change


def stopped_early(file: Any) -> None:
    data = file.create_dataset(DATA, SHAPE, "f4", chunks=(1, 3, 10))
    data[:7] = 1


def virtual(*sources: tuple[str, str], covered: int = 12) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        layout = h5py.VirtualLayout(SHAPE, "f4")
        for name, inner in sources:
            layout[:covered] = h5py.VirtualSource(name, inner, (covered, 3, 10))
        file.create_virtual_dataset(DATA, layout)

    return change


def virtual_of_two(file: Any) -> None:
    """Each the source of the other: HDF5 follows them until the process dies."""
    other = Path(file.filename).with_name("other.h5")
    for name, source in ((other, Path(file.filename).name), (None, other.name)):
        layout = h5py.VirtualLayout(SHAPE, "f4")
        layout[:] = h5py.VirtualSource(source, DATA, SHAPE)
        if name is None:
            file.create_virtual_dataset(DATA, layout)
        else:
            with h5py.File(name, "w") as second:
                second.create_virtual_dataset(DATA, layout)


def virtual_of_unwritten(file: Any) -> None:
    with h5py.File(Path(file.filename).with_name("frames.h5"), "w") as source:
        source.create_dataset("data", SHAPE, "f4")
    virtual(("frames.h5", "data"))(file)


def kept_elsewhere(file: Any) -> None:
    raw = Path(file.filename).with_name("frames.raw")
    raw.write_bytes(bytes(100))
    file.create_dataset(DATA, SHAPE, "f4", external=[(raw.name, 0, 1440)])


def kept_nowhere(file: Any) -> None:
    file.create_dataset(DATA, SHAPE, "f4", external=[("gone.raw", 0, 1440)])


BAD: dict[str, tuple[Callable[[Any], None], str]] = {
    "never written": (declared(shape=SHAPE), "0 of 1,440 bytes on disk"),
    "chunks never written": (declared(shape=SHAPE, chunks=(1, 3, 10)), "0 of 12 chunks on disk"),
    "stopped early": (stopped_early, "7 of 12 chunks on disk: the rest was never written"),
    "huge": (declared(shape=(2**40, 2**20, 2**20), chunks=(1, 1024, 1024)), "chunks on disk"),
    "huge chunks": (declared(shape=(12, 2**15, 2**15), chunks=(12, 2**15, 2**15)), "do not fit into 1 GB"),
    "source gone": (virtual(("gone.h5", "data")), "source gone.h5 is not there"),
    "source without data": (virtual((".", "nothing")), "source nothing is not in ."),
    "source of itself": (virtual((".", DATA)), "leads back to itself"),
    "sources of each other": (virtual_of_two, "leads back to itself"),
    "source never written": (virtual_of_unwritten, "0 of 1,440 bytes on disk"),
    "partly virtual": (virtual((".", "exchange/theta"), covered=5), "150 of 360 values have a source"),
    "kept in a short file": (kept_elsewhere, "frames.raw, which is cut short"),
    "kept in no file": (kept_nowhere, "gone.raw, which is not there"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_on_disk_is_named(tmp_path: Path, case: str) -> None:
    change, words = BAD[case]
    path = write_data_exchange(tmp_path / "scan.h5", measurement())
    with h5py.File(path, "r+") as file:
        del file[DATA]
        change(file)
        file[DATA].attrs["units"] = "counts"
    (problem,) = inspect(path).problems
    assert words in problem
    assert problem.startswith(f"expected {DATA} with the projections")


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 2, 3)}, {"compression": "gzip"}, {"maxshape": (None, 3, 10)}])
def test_what_is_on_disk_is_no_problem(tmp_path: Path, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        assert storage_problem(file.create_dataset("data", data=np.ones(SHAPE), **options)) is None
        assert storage_problem(file.create_dataset("number", data=1.0)) is None


def test_values_kept_in_another_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "frames.raw").write_bytes(np.ones(SHAPE, "f4").tobytes())
    with h5py.File(tmp_path / "data.h5", "w") as file:
        data = file.create_dataset("data", SHAPE, "f4", external=[("frames.raw", 0, 1440)])
        assert storage_problem(data) is None


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        data = file.create_dataset("data", data=np.ones(SHAPE), compression="gzip")
        monkeypatch.setattr("h5py.h5z.filter_avail", lambda _: False)
        problem = storage_problem(data)
    assert problem == "compression by a filter that is not installed (number 1): try pip install hdf5plugin"
