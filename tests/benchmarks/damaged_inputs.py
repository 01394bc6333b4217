"""Scans with damage of every kind, each read in a process of its own: refused by name, quickly, and never misread?

    python -m tests.benchmarks.damaged_inputs

HDF5 keeps no checksums of raw values, nor of the headers that it writes by default: where a flipped byte makes another
number of a number, nobody can tell. Such files are counted apart, by the place of the byte; a flipped byte in a
compressed chunk is found. A byte that nothing reads leaves the scan what it was, and is counted apart as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ctuq.errors import InputError
from ctuq.hdf5 import require_survivable
from ctuq.scan_file import inspect, read_scan
from tests.benchmarks.environment import save
from tests.ctuq.scan_layouts import Measurement, measurement, write_data_exchange, write_nxtomo, write_tiff_stack

SECONDS, GIGABYTES = 10.0, 2.0
PARALLEL = {"type": "parallel", "pitch_mm": 0.5, "cor_index": 20.25}
SIZE = {"views": 40, "rows": 3, "cols": 50}

Damage = Callable[[Path, np.random.Generator], None]


@dataclass(frozen=True)
class Outcome:
    """How one input ended.

    Args:
        layout: of the whole file.
        damage: kind of it.
        ended: refused, crashed, late, unharmed (the same scan), unseen (another number where a number was), or misread.
        message: first line of what was said.
        seconds: until then.
        gigabytes: at the peak, the interpreter and its libraries included; NaN after a crash.
    """

    layout: str
    damage: str
    ended: str
    message: str
    seconds: float
    gigabytes: float


def _line_integrals() -> Measurement:
    values = np.random.default_rng(1).random((SIZE["views"], SIZE["rows"], SIZE["cols"]), dtype=np.float32)
    return Measurement(values, np.arange(SIZE["views"]) * 9.0, geometry=PARALLEL)


def _linked(path: Path) -> Path:
    """NXtomo whose frames are in another file, the one that gets damaged being this one."""
    write_nxtomo(path, measurement(**SIZE))
    with h5py.File(path, "r+") as file, h5py.File(path.with_name("frames.h5"), "w") as frames:
        file.copy(DATA["NXtomo with links"], frames, name="data")
        del file[DATA["NXtomo with links"]]
        file[DATA["NXtomo with links"]] = h5py.ExternalLink("frames.h5", "data")
    return path


NX = "entry/instrument/det/data"
DATA = {"NXtomo": NX, "NXtomo in chunks": NX, "NXtomo with links": NX}
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "ctuq line integrals": lambda f: write_data_exchange(f / "scan.h5", _line_integrals(), compression="gzip"),
    "Data Exchange": lambda f: write_data_exchange(f / "scan.h5", measurement(**SIZE)),
    "Data Exchange, gzip": lambda f: write_data_exchange(
        f / "scan.h5", measurement(**SIZE), compression="gzip", chunks=(1, 3, 50)
    ),
    "NXtomo": lambda f: write_nxtomo(f / "scan.h5", measurement(**SIZE)),
    "NXtomo in chunks": lambda f: write_nxtomo(f / "scan.h5", measurement(**SIZE), chunks=(8, 1, 50), fletcher32=True),
    "NXtomo with links": lambda f: _linked(f / "scan.h5"),
    "TIFF stack": lambda f: write_tiff_stack(f / "scan.toml", measurement(**SIZE), one_file=True),
}


def _parts(path: Path) -> dict[str, str]:
    """Paths of the datasets that a scan cannot do without, by what they are."""
    with h5py.File(path) as file:
        if "exchange" not in file:
            return {"data": NX, "angles": "entry/sample/rotation_angle", "keys": "entry/instrument/det/image_key"}
        own = "measurement" in file
        return {"data": "exchange/data"} | ({"angles": "exchange/theta"} if own else {"flats": "exchange/data_white"})


def _rewritten(path: Path, name: str, values: Any) -> None:
    with h5py.File(path, "r+") as file:
        kept = dict(file[name].attrs) if isinstance(file.get(name), h5py.Dataset) else {}
        del file[name]
        file[name] = values
        file[name].attrs.update(kept)


def _values(path: Path, name: str) -> Any:
    with h5py.File(path) as file:
        return file[name][()]


def _any_part(path: Path, rng: np.random.Generator) -> str:
    return str(rng.choice(list(_parts(path).values())))


def truncated(path: Path, rng: np.random.Generator) -> None:
    """Cut short at any byte."""
    target = path.with_name("data.tif") if path.suffix == ".toml" else path
    content = target.read_bytes()
    target.write_bytes(content[: rng.integers(0, len(content))])


def flipped(path: Path, rng: np.random.Generator) -> None:
    """One to 64 bytes become others, anywhere."""
    target = path.with_name("data.tif") if path.suffix == ".toml" else path
    content = bytearray(target.read_bytes())
    for place in rng.integers(0, len(content), size=rng.integers(1, 65)):
        content[place] ^= int(rng.integers(1, 256))
    target.write_bytes(content)


def missing(path: Path, rng: np.random.Generator) -> None:
    """A dataset is not there."""
    name = _any_part(path, rng)
    with h5py.File(path, "r+") as file:
        del file[name]


def wrong_rank(path: Path, rng: np.random.Generator) -> None:
    """The projections have an axis too few or too many."""
    name = _parts(path)["data"]
    values = _values(path, name)
    _rewritten(path, name, [values[0], values[None], values.ravel(), values[:, 0], values[0, 0, 0]][rng.integers(5)])


def wrong_type(path: Path, rng: np.random.Generator) -> None:
    """Text, complex numbers, records or nothing in place of numbers."""
    name = _any_part(path, rng)
    shape = _values(path, name).shape
    kinds = [np.full(shape, b"1.0"), np.ones(shape, complex), np.ones(shape, [("re", "f4")]), h5py.Empty("f4")]
    _rewritten(path, name, kinds[rng.integers(4)])


def not_a_number(path: Path, rng: np.random.Generator) -> None:
    """Three values in ten are NaN or infinite: single counts of those would be masked."""
    parts = _parts(path)
    name = str(rng.choice([parts["data"], parts.get("angles", parts["data"])]))
    values = _values(path, name).astype(np.float64)
    bad = rng.random(values.shape) < 0.3
    bad.flat[-1] = True
    values[bad] = rng.choice([np.nan, np.inf, -np.inf])
    _rewritten(path, name, values)


def wrong_length(path: Path, rng: np.random.Generator) -> None:
    """Fewer or more angles, keys or pixels of the flats than there should be."""
    parts = _parts(path)
    name = next(parts[key] for key in ("angles", "keys", "flats") if key in parts)
    values = _values(path, name)
    length = int(rng.choice([1, values.shape[-1] // 2 + 3, values.shape[-1] + 5]))
    _rewritten(path, name, np.resize(values, (*values.shape[:-1], length)))


def huge(path: Path, rng: np.random.Generator) -> None:
    """A shape of many terabytes, of which nothing or one chunk was written."""
    name = _any_part(path, rng)
    with h5py.File(path, "r+") as file:
        rank = file[name].ndim
        del file[name]
        shape = tuple(int(n) for n in rng.integers(2**16, 2**20, size=rank))
        data = file.create_dataset(name, shape, "f4", chunks=(64,) * rank)
        if rng.random() < 0.5:
            data[(slice(0, 64),) * rank] = 1.0
        data.attrs["units"] = "counts"


def loop(path: Path, rng: np.random.Generator) -> None:
    """Links, or virtual datasets, that lead to each other."""
    name = _any_part(path, rng)
    other = path.with_name("other.h5")
    kind = rng.integers(4)
    with h5py.File(path, "r+") as file, h5py.File(other, "w") as second:
        shape = file[name].shape
        del file[name]
        if kind == 0:
            file[name], second["x"] = h5py.ExternalLink(other.name, "x"), h5py.ExternalLink(path.name, name)
        elif kind == 1:
            file[name] = h5py.SoftLink(f"/{name}")
        else:
            for target, inner, source, there in ((file, name, other, "x"), (second, "x", path, name)):
                layout = h5py.VirtualLayout(shape, "f4")
                layout[...] = h5py.VirtualSource(
                    "." if kind == 2 else source.name, inner if kind == 2 else there, shape
                )
                target.create_virtual_dataset(inner, layout)


HDF5 = tuple(name for name in LAYOUTS if name != "TIFF stack")
KINDS: dict[str, tuple[Damage, int, tuple[str, ...]]] = {
    "truncated": (truncated, 40, tuple(LAYOUTS)),
    "bytes flipped": (flipped, 60, tuple(LAYOUTS)),
    "dataset missing": (missing, 20, HDF5),
    "wrong rank": (wrong_rank, 15, HDF5),
    "wrong type": (wrong_type, 15, HDF5),
    "not a number": (not_a_number, 15, HDF5),
    "wrong length": (wrong_length, 15, HDF5),
    "huge shape": (huge, 10, HDF5),
    "loop": (loop, 10, HDF5),
}


def digest_of(path: Path) -> str:
    """Of every row's rays, values, noise and notes."""
    found = hashlib.sha256()
    for row in range(max(1, (inspect(path).shape or (0, 1))[1])):
        scan = read_scan(path, row=row)
        found.update(f"{scan.sha256} {[step.text for step in scan.steps]}".encode())
    return found.hexdigest()


def _attempt(path: Path, pipe: Any) -> None:
    began = time.perf_counter()
    try:
        require_survivable(path)  # as the commands do
        ended, message = "read", digest_of(path)
    except InputError as error:
        ended, message = "refused", str(error)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is not an error that names the input
        ended, message = "crashed", f"{type(error).__name__}: {error}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    pipe.send((ended, message, time.perf_counter() - began, peak))


def read_apart(path: Path) -> tuple[str, str, float, float]:
    """Read in a process of its own: how it ended, what it said, seconds, gigabytes."""
    # Forked, so that the libraries are not loaded anew 200 times.
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_attempt, args=(path, there))
    process.start()
    there.close()
    try:
        if here.poll(SECONDS):
            return here.recv()  # type: ignore[no-any-return]
        return "late", f"still reading after {SECONDS:g} s", SECONDS, float("nan")
    except EOFError:
        process.join()
        return "crashed", f"exit code {process.exitcode}", float("nan"), float("nan")
    finally:
        process.kill()
        process.join()


def _may_be_unseen(whole: Path, damaged: Path) -> bool:
    """Whether every part reads as numbers of the same shapes and names: then numbers alone have changed.

    What is compressed or has checksums must read as it was.
    """
    with h5py.File(whole) as a, h5py.File(damaged) as b:
        ours: dict[str, Any] = {}
        a.visititems(lambda name, node: ours.update({name: node}))
        for name, node in ours.items():
            if isinstance(node, h5py.Dataset) and (node.compression or node.fletcher32):
                twin = b.get(name)
                if twin is None or not np.array_equal(node[()], twin[()]):
                    return False
    return True


def outcomes(folder: Path, *, share: float = 1.0, seed: int = 0) -> Iterator[Outcome]:
    """Damage, read, judge.

    Args:
        folder: to write to; an input at a time is kept there.
        share: of the 200 inputs.
        seed: of the damage.
    """
    whole = {name: folder / f"whole_{number}" for number, name in enumerate(LAYOUTS)}
    digests = {}
    for name, place in whole.items():
        place.mkdir()
        digests[name] = digest_of(LAYOUTS[name](place))
    rng = np.random.default_rng(seed)
    for kind, (damage, count, layouts) in KINDS.items():
        for number in range(max(1, round(share * count))):
            layout = layouts[number % len(layouts)]
            place = folder / f"{kind}_{number}"
            place.mkdir()
            for file in whole[layout].iterdir():
                (place / file.name).write_bytes(file.read_bytes())
            path = next(place / name for name in ("scan.h5", "scan.toml") if (place / name).exists())
            damage(path, rng)
            ended, message, seconds, gigabytes = read_apart(path)
            if ended == "read" and message == digests[layout]:
                ended = "unharmed"
            elif ended == "read":
                original = whole[layout] / path.name
                raw = kind == "bytes flipped" and (path.suffix == ".toml" or _may_be_unseen(original, path))
                ended = "unseen" if raw else "misread"
            said = message.splitlines()[0].replace(f"{place}/", "")[:300]  # where they lay is nobody's business
            yield Outcome(layout, kind, ended, said, seconds, gigabytes)


def main() -> None:
    """Run all, print a table, save results/damaged_inputs.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0)
    seed = options.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        found = list(outcomes(Path(folder), seed=seed))
    table = {kind: dict(Counter(outcome.ended for outcome in found if outcome.damage == kind)) for kind in KINDS}
    finished = [outcome for outcome in found if outcome.ended not in ("crashed", "late")]
    figures = {
        "inputs": len(found),
        "ended": dict(Counter(outcome.ended for outcome in found)),
        "by_damage": table,
        "slowest_seconds": max(outcome.seconds for outcome in finished),
        "most_gigabytes": max(outcome.gigabytes for outcome in finished),
    }
    print(json.dumps(figures, indent=1))
    for outcome in found:
        if outcome.ended in ("crashed", "late", "misread"):
            print(outcome)
    save("damaged_inputs", {**figures, "seed": seed, "outcomes": [asdict(outcome) for outcome in found]})


if __name__ == "__main__":
    main()
