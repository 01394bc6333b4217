"""A tenth of the damaged inputs, and the judge itself."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ctuq.errors import InputError
from ctuq.hdf5 import require_survivable
from tests.benchmarks.damaged_inputs import GIGABYTES, KINDS, LAYOUTS, SECONDS, digest_of, outcomes, read_apart
from tests.ctuq.scan_layouts import measurement, write_data_exchange


def test_a_tenth_of_the_damaged_inputs_is_refused_quickly(tmp_path: Path) -> None:
    found = list(outcomes(tmp_path, share=0.1, seed=11))
    assert {outcome.damage for outcome in found} == set(KINDS)
    assert {outcome.ended for outcome in found if outcome.damage != "bytes flipped"} == {"refused"}
    assert {outcome.ended for outcome in found} <= {"refused", "unharmed", "unseen"}
    assert max(outcome.seconds for outcome in found) < SECONDS
    assert max(outcome.gigabytes for outcome in found) < GIGABYTES
    assert all(outcome.message.count(":") for outcome in found if outcome.ended == "refused")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_whole_is_read(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path)
    ended, message, *_ = read_apart(path)
    assert (ended, message) == ("read", digest_of(path))


def test_200_inputs() -> None:
    assert sum(count for _, count, _ in KINDS.values()) == 200


def test_a_file_that_takes_hdf5_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_data_exchange(tmp_path / "scan.h5", measurement())
    require_survivable(path)
    require_survivable(tmp_path / "missing.h5")
    for end, words in (("signal.SIGSEGV", "crashed"), ("signal.SIGXCPU", "looped for ever")):
        walker = tmp_path / "walk.py"
        walker.write_text(f"import os, signal\nos.kill(os.getpid(), {end})\n")
        monkeypatch.setattr("ctuq.hdf5.hdf5_walk.__file__", str(walker))
        with pytest.raises(InputError, match=f"over which HDF5 {words}"):
            require_survivable(path)


def test_the_walk_ends_where_links_do_not(tmp_path: Path) -> None:
    path = tmp_path / "loop.h5"
    with h5py.File(path, "w") as file:
        file["a/up"] = h5py.SoftLink("/a")
        file["a/b"] = file["a"]
        file["a/out"] = h5py.ExternalLink("loop.h5", "/")
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource(".", "a/self", (3,))
        file.create_virtual_dataset("a/self", layout)
        file["a/numbers"] = np.ones(3)
    require_survivable(path)
