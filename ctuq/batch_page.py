"""The summary page of a folder of results: one line a scan, sortable, in one HTML file that needs no network."""

from __future__ import annotations

import base64
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ctuq.batch_manifest import Manifest, Record
from ctuq.page import streamed_page
from ctuq.verdict import EDGE, RULE
from ctuq.whole_file import remove_parts, written_whole


@dataclass(frozen=True)
class ScanLine:
    """A scan in a line of the page.

    Args:
        name: of its results.
        source: file it was read from, and entry.
        page: its report, or empty.
        picture: or empty.
        result: its result file, or empty.
        state: of the whole scan: the least finished of its slices, or failed.
        progress: slices by state, in words; empty for a scan of one slice.
        median_std: median over slices, 1/mm; None where there is no result.
        chi_square: likewise, per test ray.
        calibrated: share of the finished slices whose error bars are to be believed; None where there is no result.
        seconds: of all slices.
        reason: why the first failed one did.
        thumbnail: WebP in base64, or empty.
    """

    name: str
    source: str
    page: str
    picture: str
    result: str
    state: str
    progress: str
    median_std: float | None
    chi_square: float | None
    calibrated: float | None
    seconds: float
    reason: str
    thumbnail: str

    @property
    def verdict(self) -> str:
        """Calibrated or not, in words."""
        if self.calibrated is None:
            return ""
        words = {0.0: "not calibrated", 1.0: "calibrated"}
        return words.get(self.calibrated, f"{100 * self.calibrated:.0f} % calibrated")


def write_batch_page(manifest: Manifest) -> Path:
    """Write index.html of the manifest's folder; no other run writes it meanwhile.

    Returns:
        Its path.
    """
    path = manifest.folder / "index.html"
    with manifest.exclusive():
        remove_parts([path])
        with written_whole(path, force=True) as part:
            # A line at a time: thousands of scans with their thumbnails are never in memory together.
            streamed_page(
                "batch.html.j2",
                scripts=("batch.js",),
                content={
                    "title": manifest.folder.resolve().name,
                    "when": datetime.now(UTC),
                    "counts": manifest.counts(),
                    "lasting": manifest.lasting(),
                    "believed": manifest.believed(),
                    "rule": f"{RULE} {EDGE}",
                    "lines": scan_lines(manifest),
                },
            ).dump(str(part), encoding="utf-8")
    return path


def scan_lines(manifest: Manifest) -> Iterator[ScanLine]:
    """The scans of a manifest, by name: scan_9 before scan_10."""
    for name in sorted(manifest.scans(), key=_natural):
        yield _line(name, manifest.records(name), manifest)


def _line(name: str, records: list[Record], manifest: Manifest) -> ScanLine:
    done = [record for record in records if record.state == "done"]
    failed = [record for record in records if record.state == "failed"]
    counts = Counter(record.state for record in records)
    first = records[0].slice
    shown = any(record.slice.shown for record in done)
    return ScanLine(
        name=name,
        source=f"{first.source}{f' ({first.entry})' if first.entry else ''}",
        page=f"{name}.html" if shown else "",
        picture=f"{name}.png" if shown else "",
        result=f"{name}.h5" if (manifest.folder / f"{name}.h5").is_file() else "",
        state=next((state for state in ("running", "pending", "failed") if counts[state]), "done"),
        progress=", ".join(f"{count} {state}" for state, count in sorted(counts.items())) if len(records) > 1 else "",
        median_std=_median(record.median_std for record in done),
        chi_square=_median(record.chi_square for record in done),
        calibrated=sum(bool(record.calibrated) for record in done) / len(done) if done else None,
        seconds=sum(record.seconds or 0.0 for record in records),
        reason=failed[0].reason if failed else "",
        thumbnail=base64.b64encode(manifest.thumbnail(name)).decode(),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def _median(values: Iterable[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(finite) if finite else None
