"""A batch from scans to a folder of results, with work that computes nothing and is done in this process."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from ctuq import batch_work
from ctuq.archive import Entry
from ctuq.batch import Closing, rehearse, run_batch
from ctuq.batch_command import closing_lines, closing_record
from ctuq.batch_database import open_database
from ctuq.batch_manifest import Manifest
from ctuq.batch_needs import needs
from ctuq.batch_planning import Wishes
from ctuq.config import load_config
from ctuq.errors import CtuqError, InputError, ShortageError
from ctuq.run_lock import RunLock
from ctuq.source_choice import SourceChoice
from tests.ctuq.fake_batch import (
    Silent,
    fail_odd,
    files,
    here,
    interrupted,
    quick,
    request,
    result,
    write_image,
    write_scan,
)
from tests.ctuq.scan_layouts import measurement, write_data_exchange, write_nxtomo, write_tiff_stack

NX_DATA = "entry/instrument/det/data"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number in range(3):
        write_scan(tmp_path / "in" / f"scan{number}.h5", value=number + 1.0)
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(scans: Path, out: Path, *, work: Any = quick, **changes: Any) -> Closing:
    return run_batch(request(scans, out, **changes), Silent(), work=work, perform=here)


def done(out: Path) -> Counter[str]:
    path = out.with_name("done.txt")
    return Counter(path.read_text().split("\n")[:-1] if path.exists() else [])


def test_every_scan_gets_a_result_and_the_folder_a_page(scans: Path, out: Path) -> None:
    closing = run(scans, out)
    assert files(out) == ["index.html", "manifest.sqlite", "scan0.h5", "scan1.h5", "scan2.h5"]
    assert (closing.made, closing.failures, closing.interrupted) == (3, (), False)
    assert closing.counts == {"pending": 0, "running": 0, "done": 3, "failed": 0}


def test_what_is_done_is_not_done_again(scans: Path, out: Path) -> None:
    run(scans, out)
    write_scan(scans / "scan9.h5", value=9.0)
    assert run(scans, out).made == 1
    assert run(scans, out).made == 0
    assert set(done(out).values()) == {1}


def test_a_result_that_was_deleted_is_made_again(scans: Path, out: Path) -> None:
    run(scans, out)
    (out / "scan1.h5").unlink()
    assert run(scans, out).made == 1
    assert (out / "scan1.h5").exists()


def test_a_scan_whose_content_changed_is_done_again(scans: Path, out: Path) -> None:
    run(scans, out)
    write_scan(scans / "scan1.h5", value=17.0)
    assert run(scans, out).made == 1
    assert done(out) == {"scan0": 1, "scan1": 2, "scan2": 1}


def test_a_scan_that_was_only_touched_or_copied_back_is_not(scans: Path, out: Path) -> None:
    run(scans, out)
    copy = scans / "copy"
    shutil.copy(scans / "scan1.h5", copy)
    copy.replace(scans / "scan1.h5")
    assert run(scans, out).made == 0


def test_force_does_everything_again(scans: Path, out: Path) -> None:
    run(scans, out)
    assert run(scans, out, force=True).made == 3


def test_results_of_other_settings_are_not_replaced_without_force(scans: Path, out: Path) -> None:
    run(scans, out)
    other = load_config({"fit": {"steps": 7}})
    for changes in ({"config": other}, {"seed": 1}):
        with pytest.raises(InputError, match=r"3 of its files, such as .*--force"):
            run(scans, out, **changes)
    assert run(scans, out).made == 0, "the refusal left the manifest as it was"
    assert run(scans, out, config=other, force=True).made == 3
    assert run(scans, out, config=other).made == 0


def test_an_interrupted_forced_run_goes_on_without_force(scans: Path, out: Path) -> None:
    other = load_config({"fit": {"steps": 7}})
    run(scans, out)
    assert run(scans, out, config=other, force=True, limit=1).made == 1
    assert run(scans, out, config=other).made == 2


def test_a_file_that_something_else_wrote_is_not_replaced(scans: Path, out: Path) -> None:
    out.mkdir()
    (out / "scan1.h5").write_text("mine")
    with pytest.raises(InputError, match="1 of its files"):
        run(scans, out)
    assert (out / "scan1.h5").read_text() == "mine"


def test_what_failed_is_left_until_it_is_asked_for(tmp_path: Path, out: Path) -> None:
    scans = write_scan(tmp_path / "in" / "vol.h5", n_rows=4).parent
    closing = run(scans, out, work=fail_odd)
    assert closing.failures == (("vol row 1", "odd"), ("vol row 3", "odd"))
    assert run(scans, out).made == 0
    assert run(scans, out, retry_failed=True).made == 2
    assert run(scans, out, retry_failed=True).failures == ()


def fail_in_two_ways(job: Any) -> Iterator[Any]:
    """Of rows with odd numbers the first is wrong itself; the others had bad luck."""
    for one in job.slices:
        if not one.row % 2:
            write_image(job.folder / one.result, one.row)
        reason = "odd" if one.row % 2 else ""
        yield replace(result(one.row, reason), lasting=one.row == 1)


def test_trying_again_is_advised_only_where_it_can_help(scans: Path, out: Path, tmp_path: Path) -> None:
    (scans / "bad.h5").write_bytes((scans / "scan0.h5").read_bytes()[:700])

    def advice(closing: Closing) -> list[str]:
        return [line.strip() for line in closing_lines(closing, out) if line.startswith(("  mend", "  try again"))]

    damaged = run(scans, out)
    assert damaged.lasting == 1
    (line,) = advice(damaged)
    assert line.startswith("mend        1 of the failed would fail again")
    assert "--retry-failed" not in (out / "index.html").read_text()
    volume = write_scan(tmp_path / "volume" / "vol.h5", n_rows=6)
    both = run(volume, out, work=fail_in_two_ways)
    assert (len(both.failures), both.lasting) == (3, 1)
    assert advice(both)[1] == "try again   the others with --retry-failed"
    assert closing_record(both)["lasting"] == 1
    page = (out / "index.html").read_text()
    assert "2 of the failed would fail again" in page  # of the whole folder
    assert "tries the others again" in page
    (luck,) = advice(run(volume, out, retry_failed=True, work=fail_odd))[:1]
    assert luck == "try again   with --retry-failed"


@pytest.mark.parametrize(
    ("error", "lasting"), [(InputError("NaN"), True), (ShortageError("full"), False), (MemoryError(), False)]
)
def test_a_worker_says_whether_the_request_is_at_fault(
    error: Exception, lasting: bool, scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(batch_work, "reconstruct", refuse)
    closing = run(scans, out, work=batch_work.reconstruct_slices)
    assert (len(closing.failures), closing.lasting) == (3, 3 if lasting else 0)


def test_a_damaged_file_is_a_failure_that_stops_nobody(scans: Path, out: Path) -> None:
    (scans / "bad.h5").write_bytes((scans / "scan0.h5").read_bytes()[:700])
    closing = run(scans, out)
    ((label, reason),) = closing.failures
    assert label == "bad"
    assert "cut short" in reason
    assert closing.made == 3
    assert not (out / "bad.h5").exists()
    write_scan(scans / "bad.h5", value=5.0)
    assert run(scans, out).made == 1


def linked(path: Path, frames: Path, how: str) -> None:
    """NXtomo whose frames are elsewhere."""
    write_nxtomo(path, measurement())
    with h5py.File(path, "r+") as file:
        stack = file[NX_DATA][()]
        del file[NX_DATA]
        if how == "external storage":
            frames.write_bytes(stack.tobytes())
            file.create_dataset(NX_DATA, stack.shape, stack.dtype, external=[(frames.name, 0, stack.nbytes)])
            return
        with h5py.File(frames, "w") as other:
            other["data"] = stack
        if how == "link":
            file[NX_DATA] = h5py.ExternalLink(frames.name, "data")
        else:
            layout = h5py.VirtualLayout(stack.shape, stack.dtype)
            layout[...] = h5py.VirtualSource(frames.name, "data", stack.shape)
            file.create_virtual_dataset(NX_DATA, layout)


@pytest.mark.parametrize("how", ["link", "virtual", "external storage"])
def test_frames_that_change_behind_a_file_are_seen(tmp_path: Path, out: Path, how: str) -> None:
    (tmp_path / "in").mkdir()
    frames = tmp_path / "in" / "frames.raw"
    linked(tmp_path / "in" / "scan.nxs", frames, how)
    assert run(tmp_path / "in" / "scan.nxs", out).made == 3
    assert run(tmp_path / "in" / "scan.nxs", out).made == 0
    content = bytearray(frames.read_bytes())
    content[-1] ^= 1
    frames.write_bytes(content)
    assert run(tmp_path / "in" / "scan.nxs", out).made == 3


def test_what_holds_numbers_of_a_scan_is_no_failed_scan_unless_it_is_named(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    linked(folder / "scan.nxs", folder / "raw.h5", "link")
    (folder / "tools.toml").write_text("[tool.black]\nline-length = 100\n")
    (folder / "torn.toml").write_text('data = "x_*.ti')
    closing = run(folder, out)
    assert closing.made == 3
    assert [label for label, _ in closing.failures] == ["torn"]
    assert [label for label, _ in run(folder / "raw.h5", out).failures] == ["raw"]


def test_parts_of_files_that_are_named_are_used_and_part_of_the_settings(tmp_path: Path, out: Path) -> None:
    path = write_data_exchange(tmp_path / "scan.h5", measurement())
    with h5py.File(path, "r+") as file:
        file.move("exchange/data_white", "beam")
        file["more"] = file["beam"][1:]
    assert len(run(path, out).failures) == 1
    assert run(path, out, choice=SourceChoice(flats="beam")).made == 3
    assert run(path, out, choice=SourceChoice(flats="beam")).made == 0
    with pytest.raises(InputError, match="made with another configuration"):
        run(path, out, choice=SourceChoice(flats="more"))
    assert run(path, out, choice=SourceChoice(flats="more"), force=True).made == 3


def test_one_entry_of_several_has_the_name_that_it_has_among_all(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "day.h5"
    for number, group in enumerate(("exchange", "exchange_1")):
        write_data_exchange(path, measurement(seed=number), group=group, mode="a")
    assert run(path, out, choice=SourceChoice(entry="exchange_1")).made == 3
    assert [name for name in files(out) if "/" not in name and name.endswith(".h5")] == ["day-exchange_1.h5"]
    assert run(path, out).made == 3


def test_angles_of_a_file_that_was_named_may_move_but_not_change(tmp_path: Path, out: Path) -> None:
    path = write_data_exchange(tmp_path / "scan.h5", measurement(), theta=False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "angles.txt", measurement().theta_deg)
    assert run(path, out, choice=SourceChoice(angles=str(tmp_path / "a" / "angles.txt"))).made == 3
    moved = SourceChoice(angles=str(tmp_path / "b" / "angles.txt"))
    assert run(path, out, choice=moved).made == 0
    np.savetxt(tmp_path / "b" / "angles.txt", measurement().theta_deg + 1)
    assert run(path, out, choice=moved).made == 3


def test_tiff_files_and_angles_that_change_behind_a_toml_are_seen(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    scan, other = measurement(), measurement(seed=1)
    path = write_tiff_stack(folder / "scan.toml", scan)
    np.savetxt(folder / "angles.txt", scan.theta_deg)
    text = path.read_text().replace(str(scan.theta_deg.tolist()), '"angles.txt"')
    path.write_text(text)
    assert run(path, out).made == 3
    assert run(path, out).made == 0
    tifffile.imwrite(folder / "data_5.tif", other.data[5])
    assert run(path, out).made == 3
    np.savetxt(folder / "angles.txt", scan.theta_deg + 1)
    assert run(path, out).made == 3
    tifffile.imwrite(folder / "flats_9.tif", other.data[5])
    assert run(path, out).made == 3


def test_rows_that_are_stored_together_are_taken_together(tmp_path: Path, out: Path) -> None:
    path = write_data_exchange(tmp_path / "vol.h5", measurement(rows=12), chunks=(1, 4, 10))
    for changes, wanted in (
        ({}, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
        ({"rows": (2, 5)}, [[2, 3], [4]]),
        ({"row_block": 6}, [[*range(6)], [*range(6, 12)]]),
    ):
        jobs = rehearse(request(path, out, **changes), Silent(), perform=here).jobs
        assert [[one.row for one in job] for job in jobs] == wanted


@settings(max_examples=30, deadline=None)
@given(
    together=st.integers(1, 5000), views=st.integers(1, 5000), detectors=st.integers(1, 5000), rows=st.integers(1, 99)
)
def test_a_block_divides_what_is_stored_together_and_fits(together: int, views: int, detectors: int, rows: int) -> None:
    entry = Entry("", views, rows * together, detectors, 1.0, together)
    assert together % entry.row_block == 0
    assert entry.row_block == 1 or entry.bytes_of(entry.row_block) <= 2**30
    block = needs([entry], Wishes(config=load_config()))
    single = needs([entry], Wishes(config=load_config(), row_block=1))
    assert block.rows == entry.row_block
    assert block.memory_bytes - single.memory_bytes in (0, entry.bytes_of(entry.row_block - 1))


def test_a_bad_entry_is_a_failure_beside_the_results_of_the_others(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "in" / "day.h5"
    path.parent.mkdir()
    for number, group in enumerate(("exchange", "exchange_1", "exchange_2")):
        write_data_exchange(path, measurement(seed=number), group=group, mode="a")
    with h5py.File(path, "r+") as file:
        del file["exchange_1/data"]
    closing = run(path.parent, out)
    ((label, reason),) = closing.failures
    assert label == "day-exchange_1"
    assert "expected a dataset exchange_1/data" in reason
    assert closing.made == 6
    assert {"day-exchange.h5", "day-exchange_2.h5"} <= set(files(out))
    assert run(path.parent, out).made == 0
    with h5py.File(path, "r+") as file:
        file["exchange_1/data"] = file["exchange/data"][()]
    assert run(path.parent, out, force=True).failures == ()


def test_a_volume_is_parts_and_a_master_whose_missing_rows_are_nan(tmp_path: Path, out: Path) -> None:
    scans = write_scan(tmp_path / "in" / "vol.h5", n_rows=4).parent
    run(scans, out, work=fail_odd, row_block=3)
    with h5py.File(out / "vol.h5") as file:
        stack = file["entry/data/data"]
        assert stack.shape == (4, 2, 3)
        assert np.array_equal(stack[:, 0, 0], [0, np.nan, 2, np.nan], equal_nan=True)
        assert file["entry/data/z"][()].tolist() == [0, 0.5, 1, 1.5]
        assert file["entry/rows/state"].asstr()[()].tolist() == ["done", "failed", "done", "failed"]
    run(scans, out, retry_failed=True)
    moved = out.rename(tmp_path / "moved")
    with h5py.File(moved / "vol.h5") as file:
        assert file["entry/data/data"][:, 0, 0].tolist() == [0, 1, 2, 3]
        assert not any(source.file_name.startswith("/") for source in file["entry/data/data"].virtual_sources())


def test_some_rows_first_and_the_others_later(tmp_path: Path, out: Path) -> None:
    scans = write_scan(tmp_path / "in" / "vol.h5", n_rows=4).parent
    assert run(scans, out, rows=(1, 3)).made == 2
    with h5py.File(out / "vol.h5") as file:
        assert file["entry/rows/row"][()].tolist() == [1, 2]
    assert run(scans, out).made == 2
    with h5py.File(out / "vol.h5") as file:
        assert file["entry/rows/row"][()].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("rows", "shown"), [(None, [3]), ((0, 2), [1]), ((0, 3), [1]), ((4, 5), [4]), ((0, 9), [3])])
def test_the_middle_of_the_wanted_rows_is_shown(
    tmp_path: Path, out: Path, rows: tuple[int, int] | None, shown: list[int]
) -> None:
    path = write_scan(tmp_path / "in" / "vol.h5", n_rows=6)
    run(path, out, rows=(2, 3), limit=1)
    jobs = rehearse(request(path, out, rows=rows, row_block=9), Silent(), perform=here).jobs
    assert [one.row for one in jobs[0] if one.shown] == shown


def test_what_is_left_of_an_earlier_run_shows_the_row_that_is_asked_for_now(tmp_path: Path, out: Path) -> None:
    path = write_scan(tmp_path / "in" / "vol.h5", n_rows=6)
    run(path, out, limit=1)
    jobs = rehearse(request(path, out, rows=(1, 3)), Silent(), perform=here).jobs
    assert [one.row for job in jobs for one in job if one.shown] == [2]


def test_a_volume_has_no_rows_of_other_settings(tmp_path: Path, out: Path) -> None:
    scans = write_scan(tmp_path / "in" / "vol.h5", n_rows=3).parent
    run(scans, out)
    before = (out / "vol.h5").read_bytes()
    run(scans, out, seed=1, force=True, rows=(0, 2))
    with h5py.File(out / "vol.h5") as file:
        assert file["entry/rows/state"].asstr()[()].tolist() == ["done", "done", "made with other settings"]
    run(scans, out, seed=1, force=True)
    assert (out / "vol.h5").read_bytes() != before, "images of other settings may have another size"


def test_rows_that_a_scan_does_not_have_are_a_failure(scans: Path, out: Path) -> None:
    closing = run(scans, out, rows=(5, 7))
    assert len(closing.failures) == 3
    assert "expected rows below 1" in closing.failures[0][1]


def test_shards_share_the_work_and_nothing_is_done_twice(tmp_path: Path, out: Path) -> None:
    for number in range(12):
        write_scan(tmp_path / "in" / f"scan{number}.h5", value=number + 1.0)
    write_scan(tmp_path / "in" / "vol.h5", n_rows=12)
    made = [run(tmp_path / "in", out, shard=(index, 3)).made for index in (1, 2, 3)]
    assert sum(made) == 24
    assert min(made) > 0
    assert len(done(out)) == 24
    assert set(done(out).values()) == {1}
    assert (out / "vol.h5").exists()


def test_a_limit_leaves_the_rest_for_the_next_run(scans: Path, out: Path) -> None:
    closing = run(scans, out, limit=2)
    assert (closing.made, closing.counts["pending"]) == (2, 1)
    assert run(scans, out, limit=2).made == 1


def test_a_rehearsal_writes_nothing(scans: Path, out: Path) -> None:
    (scans / "bad.h5").write_text("no")
    found = rehearse(request(scans, out), Silent(), perform=here)
    assert [job[0].label for job in found.jobs] == ["scan0", "scan1", "scan2"]
    assert [label for label, _ in found.failures] == ["bad"]
    assert not out.exists()
    run(scans, out, limit=1)
    before = {name: (out / name).read_bytes() for name in files(out)}
    assert len(rehearse(request(scans, out), Silent(), perform=here).jobs) == 2
    assert before == {name: (out / name).read_bytes() for name in files(out)}


def test_an_interruption_is_a_closing_and_the_next_run_goes_on(
    scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = run(scans, out, work=interrupted)
    assert closing.interrupted
    assert closing.counts["running"] == 0
    assert [name for name in files(out) if name.startswith(".")] == []
    assert run(scans, out).made == 3 - closing.made
    assert set(done(out).values()) == {1}


def test_slices_of_a_dead_run_are_taken_over_and_those_of_a_living_one_are_not(scans: Path, out: Path) -> None:
    run(scans, out, limit=1)
    other = RunLock(out)
    manifest = Manifest(out, open_database(out))
    manifest.want(
        [(one,) for one, _ in [(one.slice, 0) for name in manifest.scans() for one in manifest.records(name)]]
    )
    (claimed,) = manifest.claim(other.name, lambda _: True)
    closing = run(scans, out)
    assert (closing.made, closing.counts["running"]) == (1, 1)
    other.release()
    assert run(scans, out).made == 1
    assert done(out)[claimed.label] == 1
    manifest.close()


def test_a_full_disk_is_said_before_anything_is_computed(
    scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(scans)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"expected up to \d+\.\d MB for 3 results"):
        run(scans, out)
    assert not done(out)


def test_a_disk_that_fills_up_ends_the_run_and_leaves_the_rest(
    scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(scans)
    free = iter([usage.free, usage.free])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free, 1000)))
    with pytest.raises(CtuqError, match="all but full"):
        run(scans, out)
    monkeypatch.undo()
    assert len(done(out)) == 1
    assert run(scans, out).made == 2


@pytest.mark.parametrize("where", ["inside", "file", "nowhere", "missing"])
def test_a_wrong_folder_is_refused(scans: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    out = {"inside": scans, "file": tmp_path / "file", "nowhere": tmp_path / "a" / "b", "missing": tmp_path / "out"}[
        where
    ]
    source = tmp_path / "nothing" if where == "missing" else scans
    with pytest.raises(InputError, match="expected"):
        run(source, out)


def test_two_files_of_one_name_have_results_of_their_own(tmp_path: Path, out: Path) -> None:
    one, other = (write_scan(tmp_path / name / "scan.h5", value=value) for name, value in (("mon", 1.0), ("tue", 2.0)))
    both = request(one.parent, out)
    both = type(both)(**(vars(both) | {"scans": (other, one)}))
    run_batch(both, Silent(), work=quick, perform=here)
    assert [name for name in files(out) if name.endswith(".h5")] == ["scan-mon.h5", "scan-tue.h5"]


def test_a_manifest_that_is_none_is_refused(scans: Path, out: Path) -> None:
    out.mkdir()
    (out / "manifest.sqlite").write_text(
        "a list of scans that somebody kept by hand, long enough to be no database" * 20
    )
    with pytest.raises(InputError, match="got a file that is none"):
        run(scans, out)


def test_the_bar_counts_what_is_settled(scans: Path, out: Path) -> None:
    events = Silent()
    run_batch(request(scans, out), events, work=quick, perform=here)
    assert [step for step in events.steps if step[0] == "batch"] == [("batch", n, 3) for n in range(4)]
    assert [note["scan"] for note in events.notes] == ["scan0", "scan1", "scan2"]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_left_is_told_from_the_start_and_on_what_it_rests(scans: Path, out: Path, workers: int) -> None:
    events = Silent()
    run_batch(request(scans, out, workers=workers), events, work=quick, perform=here)
    infos = [info for (stage, _, _), info in zip(events.steps, events.infos, strict=True) if stage == "batch"]
    assert all(info["minutes_left"] > 0 for info in infos[:-1])
    # Only when every worker has done one do slices tell the pace.
    assert [info["slices_timed"] for info in infos] == [made if made >= workers else 0 for made in range(4)]
