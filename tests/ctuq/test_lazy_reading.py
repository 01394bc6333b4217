"""A row is read without the volume, whatever the order of axes, chunks and frames."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctuq.errors import InputError
from ctuq.hdf5_frames import Hdf5Frames
from ctuq.scan import Scan
from ctuq.scan_file import inspect, opened_scan, read_scans
from tests.ctuq.scan_layouts import measurement, write_data_exchange, write_nxtomo


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every selection that is read, with its dataset's name."""
    found: list[tuple[str, Any]] = []
    original = h5py.Dataset.__getitem__

    def watched(self: Any, arguments: Any, **options: Any) -> Any:
        found.append((self.name, arguments))
        return original(self, arguments, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    return found


def test_headers_read_no_frames(tmp_path: Path, reads: list[tuple[str, Any]]) -> None:
    inspect(write_data_exchange(tmp_path / "scan.h5", measurement()))
    assert {name for name, _ in reads} == {"/exchange/theta"}
    reads.clear()
    inspect(write_nxtomo(tmp_path / "scan.nxs", measurement()))
    assert {name for name, _ in reads} <= {
        "/entry/sample/rotation_angle",
        "/entry/instrument/det/image_key",
        "/entry/title",
    }


@pytest.mark.parametrize("axes", ["theta:y:x", "y:theta:x", "x:y:theta"])
def test_only_the_rows_that_are_asked_for_are_read(tmp_path: Path, axes: str, reads: list[tuple[str, Any]]) -> None:
    path = write_data_exchange(tmp_path / "scan.h5", measurement(rows=9), axes=axes)
    with opened_scan(path) as source:
        reads.clear()
        source.rows(4, 6)
    place = axes.split(":").index("y")
    assert {name for name, _ in reads} == {f"/exchange/{name}" for name in ("data", "data_white", "data_dark")}
    assert all(arguments[place] == slice(4, 6) for _, arguments in reads)


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 40),
    chunk=st.integers(1, 40),
    data=st.data(),
    slab=st.integers(1, 4000),
)
def test_any_frames_are_read_right_and_no_chunk_twice(
    tmp_path_factory: pytest.TempPathFactory, frames: int, chunk: int, data: st.DataObject, slab: int
) -> None:
    chosen = data.draw(st.none() | st.sets(st.integers(0, frames - 1), min_size=1))
    start = data.draw(st.integers(0, 4))
    stop = data.draw(st.integers(start + 1, 5))
    values = np.random.default_rng(0).random((frames, 5, 7), dtype=np.float32)
    touched: Counter[int] = Counter()
    original = h5py.Dataset.__getitem__

    def watched(self: Any, arguments: Any, **options: Any) -> Any:
        span = arguments[0]
        touched.update({frame // min(chunk, frames) for frame in range(span.start, span.stop)})
        return original(self, arguments, **options)

    with h5py.File(tmp_path_factory.mktemp("lazy") / "data.h5", "w") as file, pytest.MonkeyPatch.context() as patch:
        dataset = file.create_dataset("data", data=values, chunks=(min(chunk, frames), 2, 7))
        patch.setattr(h5py.Dataset, "__getitem__", watched)
        patch.setattr("ctuq.hdf5_frames._SLAB", slab)
        indices = None if chosen is None else np.array(sorted(chosen))
        found = Hdf5Frames("data", dataset, chosen=indices).read(start, stop)
    np.testing.assert_array_equal(found, (values if indices is None else values[indices])[:, start:stop])
    assert max(touched.values()) == 1


PEAK = """
import resource, sys
from ctuq.scan import Scan
from ctuq.scan_file import inspect, opened_scan, read_scans, read_scan
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
header = inspect(sys.argv[1])
with opened_scan(sys.argv[1]) as source:
    source.rows(1000, 1002)
scan = read_scan(sys.argv[1], row=7)
print(header.shape[0] * header.shape[1] * header.shape[2] * 2, scan.sinogram.numel())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_volume_of_many_gigabytes_takes_little_memory(tmp_path: Path) -> None:
    """400 views of 2000 rows and 8000 pixels, 12.8 GB, of which one frame is on disk."""
    shape = (400, 2000, 8000)
    with h5py.File(tmp_path / "frame.h5", "w") as file:
        file.create_dataset("data", shape[1:], "u2", chunks=(50, 8000), compression="gzip")[...] = 1000
    layout = h5py.VirtualLayout(shape, "u2")
    for view in range(shape[0]):
        layout[view] = h5py.VirtualSource("frame.h5", "data", shape[1:])
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_virtual_dataset("exchange/data", layout)
        file["exchange/data_white"] = 2000.0
        file["exchange/theta"] = np.arange(400) * 0.45
        file["exchange/theta"].attrs["units"] = "deg"
    arguments = [sys.executable, "-c", PEAK, str(tmp_path / "scan.h5")]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == 0, ended.stderr
    volume, rays, peak = map(int, ended.stdout.split())
    assert (volume, rays) == (12_800_000_000, 400 * 8000)
    assert peak < 600_000_000


@pytest.mark.parametrize("value", [0, 65535])
def test_a_row_is_judged_by_itself_whatever_is_read_with_it(tmp_path: Path, value: int) -> None:
    scan = measurement(rows=4)
    scan.data[5, 2] = value  # a view without counts, or stuck, in one row of four
    path = write_data_exchange(tmp_path / "scan.h5", scan)
    together = dict(read_scans(path, range(4)))
    alone = dict(outcome for row in range(4) for outcome in read_scans(path, [row]))
    assert {row for row, found in together.items() if isinstance(found, InputError)} == ({2} if value == 0 else set())
    assert [said(found) for found in together.values()] == [said(found) for found in alone.values()]


def said(found: Scan | InputError) -> str:
    return str(found) if isinstance(found, InputError) else found.sha256
