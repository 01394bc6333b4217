"""What a batch keeps up to date in the folder of results while slices are settled: volumes, summary page, the bar."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ctuq.batch_job import SliceResult, same_settings
from ctuq.batch_manifest import Manifest, Record
from ctuq.batch_page import write_batch_page
from ctuq.errors import CtuqError
from ctuq.events import Events
from ctuq.volume_file import VolumeRow, write_volume
from ctuq.whole_file import remove_parts

_PAGE_S = 60.0  # between two summary pages, at least; and twenty times what one takes
_COUNT_S = 5.0  # between two looks at what other runs did


class BatchFolder:
    """The folder of results of a run.

    Args:
        manifest: of the folder.
        events: where to report to.
    """

    def __init__(self, manifest: Manifest, events: Events) -> None:
        self.manifest, self.events = manifest, events
        self.made = 0
        self.problems: dict[Path, str] = {}
        self.page = manifest.folder / "index.html"
        self._counts = Counter[str]()
        self._counted = self._paged = self._began = time.monotonic()
        self._page_took = 0.0
        self._expected_s, self._n_workers = 0.0, 1

    def begin(self, slice_s: float = 0.0, n_workers: int = 1) -> None:
        """The manifest knows what this run wants.

        Args:
            slice_s: what a slice should take; 0 where nobody can say.
            n_workers: that work at once, as far as is known.
        """
        self._began, self._expected_s, self._n_workers = time.monotonic(), slice_s, n_workers
        self._tell(recount=True)

    def settled(self, scan: str, results: Sequence[SliceResult]) -> None:
        """Slices of a scan are done or have failed."""
        self.made += len(results)
        for result in results:
            self._counts["failed" if result.reason else "done"] += 1
            self._counts["running"] -= 1
            self._note(scan, result)
        self._write_volume(scan)
        if time.monotonic() - self._paged > max(_PAGE_S, 20 * self._page_took):
            self._write_page()
        self._tell(recount=time.monotonic() - self._counted > _COUNT_S)

    def close(self) -> None:
        """Write what is not up to date: also what an earlier run was killed over."""
        for scan in self.manifest.scans():
            self._write_volume(scan)
        self._write_page()

    def _note(self, scan: str, result: SliceResult) -> None:
        record = {
            "event": "slice",
            "scan": scan,
            "row": result.row,
            "state": "failed" if result.reason else "done",
            "reason": result.reason,
            "seconds": result.seconds,
            "host": result.host,
            "median_std": result.median_std,
            "chi_square": result.chi_square,
            "calibrated": result.calibrated,
        }
        self.events.noted(f"failed: {scan}, row {result.row}: {result.reason}" if result.reason else "", record)

    def _tell(self, *, recount: bool) -> None:
        if recount:
            self._counts, self._counted = Counter(self.manifest.counts(wanted=True)), time.monotonic()
        settled, total = self._counts["done"] + self._counts["failed"], self._counts.total()
        info: dict[str, float] = {"failed": self._counts["failed"]}
        # While the first slices are not all in, their number says less of the pace than their size does.
        timed = self.made if self.made >= self._n_workers else 0
        each_s = (time.monotonic() - self._began) / timed if timed else self._expected_s / self._n_workers
        if each_s:
            info |= {"minutes_left": each_s * (total - settled) / 60, "slices_timed": timed}
        self.events.step("batch", min(settled, total), total, info)

    def _write_volume(self, scan: str) -> None:
        if not self.manifest.is_volume(scan) or not self.manifest.is_settled(scan):
            return
        path = self.manifest.folder / f"{scan}.h5"
        try:
            with self.manifest.exclusive():
                rows = _volume_rows(self.manifest.records(scan))
                remove_parts([path])
                if any(row.state == "done" for row in rows):
                    write_volume(path, rows)
        except (CtuqError, OSError) as error:
            self.problems[path] = str(error)

    def _write_page(self) -> None:
        began = time.monotonic()
        try:
            self.page = write_batch_page(self.manifest)
        except (CtuqError, OSError) as error:
            self.problems[self.page] = str(error)
        self._paged = time.monotonic()
        self._page_took = self._paged - began


def _volume_rows(records: Sequence[Record]) -> list[VolumeRow]:
    """Rows that were made with other settings than the last one are none of the volume: images may differ in size."""
    last = max(records, key=lambda record: record.ended or 0.0).slice.key
    return [
        VolumeRow(
            one.slice.row,
            one.slice.row * one.slice.pitch_mm,
            one.slice.result,
            one.state if same_settings(one.slice.key, last) else "made with other settings",
            one.slice.key,
        )
        for one in records
    ]
