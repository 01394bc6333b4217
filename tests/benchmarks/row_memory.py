"""Memory that reading one row of a large volume takes; writes JSON.

python -m tests.benchmarks.row_memory [--views 1600] [--rows 2000] [--detectors 2000]

The volume is Data Exchange with counts of two bytes, all of them zero but those of the row, so that the file is sparse
on disk. The row is read in a process of its own, whose peak is told with and without what the imports took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from tests.benchmarks.environment import save

_READ = """
import json, resource, sys
from ctuq import Scan
from ctuq.scan_file import read_scan
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scan = read_scan(sys.argv[1], row=int(sys.argv[2]))
assert scan.sinogram.min() > 0
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"imports": before / 1e6, "peak": after / 1e6}))
"""


def write_volume(path: Path, *, views: int, rows: int, detectors: int) -> None:
    """A volume as large as told, of which only the middle row takes room on the disk."""
    shape = (views, rows, detectors)
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        group = file.create_group("exchange")
        h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U16LE, h5py.h5s.create_simple(shape), properties)
        data = group["data"]
        data.attrs.update({"units": "counts", "axes": "theta:y:x"})
        rng = np.random.default_rng(0)
        for view in range(views):
            data[view, rows // 2] = rng.integers(8_000, 12_000, detectors, dtype=np.uint16)
        for name, value in (("data_white", 20_000), ("data_dark", 100)):
            group.create_dataset(name, data=np.full((1, rows, detectors), value, dtype=np.uint16))
        group["theta"] = np.arange(views) * 180.0 / views
        group["theta"].attrs["units"] = "deg"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=1600)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--detectors", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.h5"
        write_volume(path, views=options.views, rows=options.rows, detectors=options.detectors)
        command = [sys.executable, "-c", _READ, str(path), str(options.rows // 2)]
        read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    figures = {
        "options": vars(options),
        "volume_gb": 2e-9 * options.views * options.rows * options.detectors,
        "imports_gb": read["imports"],
        "peak_gb": read["peak"],
        "row_gb": read["peak"] - read["imports"],
        "largest_process_gb": children,
    }
    print(figures)
    print("written to", save("row_memory", figures))


if __name__ == "__main__":
    main()
