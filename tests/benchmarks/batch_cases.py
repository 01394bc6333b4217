"""What the benchmarks of the batch share: tiny scans, the command, and the comparison of two folders of results."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from ctuq.rays import geometry_attributes
from ctuq.scan import Scan
from ctuq.sinogram_file import write_sinogram_file
from operators import ImageGrid, ParallelBeam, RayTransform

ROOT = Path(__file__).parents[2]
SIZE, VIEWS = 16, 12
QUICK = (
    "fit.steps=20",
    "fit.refit_steps=5",
    "network.channels=[4,4]",
    "network.skip_channels=[2]",
    "posterior.kept_samples=2",
)
_TIMES = ("start_time", "end_time", "date", "stage_seconds")


def sinogram(seed: int) -> tuple[ParallelBeam, torch.Tensor]:
    """A rectangle that depends on the seed, with noise."""
    angles = np.linspace(0, np.pi, VIEWS, endpoint=False)
    geometry = ParallelBeam(grid=ImageGrid(shape=(SIZE, SIZE)), angles_rad=angles, n_detectors=SIZE)
    image = torch.zeros(SIZE, SIZE)
    image[4:12, 3 + seed % 4 : 11] = 0.05
    noise = torch.randn(VIEWS, SIZE, generator=torch.Generator().manual_seed(seed))
    return geometry, RayTransform(geometry)(image) + 0.01 * noise


def write_scans(folder: Path, n_scans: int, *, n_rows: int = 0) -> Path:
    """So many scans of one row, and one of `n_rows` if that is more than none."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_scans):
        geometry, rays = sinogram(number)
        write_sinogram_file(
            folder / f"scan{number:02d}.h5", Scan(rays, geometry, None, f"scan{number:02d}"), force=True
        )
    if n_rows:
        write_volume_scan(folder / "volume.h5", n_rows)
    return folder


def write_volume_scan(path: Path, n_rows: int) -> Path:
    """A sinogram file of several detector rows."""
    geometry, _ = sinogram(0)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.stack([sinogram(100 + row)[1].numpy() for row in range(n_rows)], axis=1)
        file["exchange/data"].attrs.update({"units": "line_integral", "axes": "theta:y:x"})
        file["exchange/theta"] = np.degrees(np.asarray(geometry.angles_rad))
        file["exchange/theta"].attrs["units"] = "deg"
        file.create_group("measurement/instrument/ctuq_geometry").attrs.update(geometry_attributes(geometry))
    return path


def start(scans: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """`ctuq batch` in a process of its own, one thread a worker, so that any number of them computes the same."""
    words = ["batch", str(scans), "--out", str(out), "--threads", "1", "--json", *options]
    words += [word for setting in QUICK for word in ("--set", setting)]
    log = out.with_name(f"{out.name}.log")
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ctuq", *words],
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )


def rows_of(out: Path) -> list[dict[str, object]]:
    """The slices in a folder's manifest."""
    if not (out / "manifest.sqlite").exists():
        return []
    database = sqlite3.connect(out / "manifest.sqlite", timeout=60)
    database.row_factory = sqlite3.Row
    try:
        query = "SELECT scan, row, n_rows, state, attempts, owner, reason FROM slices ORDER BY scan, row"
        return [dict(row) for row in database.execute(query)]
    except sqlite3.OperationalError:  # killed before it had tables
        return []
    finally:
        database.close()


def result_of(row: Mapping[str, object]) -> str:
    """Its file, relative to the folder."""
    return f"{row['scan']}.h5" if row["n_rows"] == 1 else f"{row['scan']}.parts/row-{row['row']:05d}.h5"


def whole_results(out: Path) -> list[str]:
    """Every HDF5 file below a folder, relative to it."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.h5"))


def differences(ours: Path, reference: Path) -> list[str]:
    """Names of files and datasets that are not bit for bit the same; times, pictures of times and logs aside."""
    names = whole_results(reference)
    found = sorted(set(names) ^ set(whole_results(ours)))
    for name in set(names) & set(whole_results(ours)):
        with h5py.File(ours / name) as a, h5py.File(reference / name) as b:
            found += [f"{name}:{part}" for part in _different(a, b)]
    for path in reference.glob("*.png"):
        if not (ours / path.name).is_file() or (ours / path.name).read_bytes() != path.read_bytes():
            found.append(path.name)
    return found


def _different(a: h5py.Group, b: h5py.Group) -> list[str]:
    ours, theirs = _contents(a), _contents(b)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _contents(file: h5py.Group) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def visit(name: str, member: h5py.Group | h5py.Dataset) -> None:
        if any(part in _TIMES for part in name.split("/")):
            return
        found[f"{name}@"] = repr(sorted((key, str(value)) for key, value in member.attrs.items())).encode()
        if isinstance(member, h5py.Dataset):
            value = member[()]
            # Text is kept as objects, whose bytes are addresses.
            is_text = not isinstance(value, (np.ndarray, np.generic)) or value.dtype == object
            found[name] = repr(np.asarray(value).tolist()).encode() if is_text else value.tobytes()

    file.visititems(visit)
    return found


def leftovers(out: Path) -> list[str]:
    """Files that no finished batch leaves."""
    patterns = ("**/*.part", "**/.run-*", "**/*-journal")
    return sorted(str(path.relative_to(out)) for pattern in patterns for path in out.glob(pattern))


def workers_of(pid: int) -> list[int]:
    """Worker processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            words = (status.parent / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and b"worker_main.py" in words:
            found.append(int(status.parent.name))
    return found


def alive(pids: Sequence[int]) -> list[int]:
    """Those of these worker processes that still run."""
    found = []
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"worker_main.py" in words:
            found.append(pid)
    return found
