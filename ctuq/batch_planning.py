"""From scans on disk to slices in a manifest: what is to be done, what is done already, and what it will take."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ctuq.archive import Contents, Entry, look, stamp
from ctuq.batch_job import Slice, same_settings, settings_key, slice_key
from ctuq.batch_manifest import Manifest
from ctuq.batch_names import assign_names
from ctuq.config import Config
from ctuq.errors import InputError
from ctuq.initial_weights import deciding_settings
from ctuq.run_lock import RunLock, is_alive
from ctuq.source_choice import SourceChoice
from ctuq.stage_watch import OnStep
from ctuq.worker_process import Answer, Call

_TELL_S = 1.0
_LOOK_S = 60.0  # for headers, and for every stretch of content, from a slow disk


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Which slices are wanted, and what happens to those that exist.

    Args:
        config: resolved.
        seed: of every random draw.
        choice: what the files do not say, or say wrongly; files in it by their absolute paths.
        rows: [first, stop) of every scan; None: `scan.row` of the configuration, or all.
        row_block: neighbouring rows that are claimed together; None: as many as are stored together, within reason.
        shard: (i, n): only the i-th of n shares, from 1.
        retry_failed: whether what failed is tried again.
        force: whether what is done is done again, and files of other settings are replaced.
    """

    config: Config
    seed: int = 0
    choice: SourceChoice = field(default_factory=SourceChoice)
    rows: tuple[int, int] | None = None
    row_block: int | None = None
    shard: tuple[int, int] = (1, 1)
    retry_failed: bool = False
    force: bool = False

    @cached_property
    def settings(self) -> str:
        """Hash of what every result is made with; which rows are wanted is none of it."""
        config = self.config.model_copy(update={"scan": self.config.scan.model_copy(update={"row": None})})
        version = importlib.metadata.version("ctuq")
        return settings_key(deciding_settings(config), version=version, seed=self.seed, named=self._named)

    @property
    def _named(self) -> dict[str, str | None]:
        """Without the entry, which a slice knows, and without folders of files, whose content is hashed."""
        named: dict[str, str | None] = asdict(replace(self.choice, entry=None))
        return {part: Path(value).name if value and Path(value).is_file() else value for part, value in named.items()}

    def block_of(self, entry: Entry) -> int:
        """Rows of an entry that are claimed together."""
        return entry.row_block if self.row_block is None else min(self.row_block, max(1, entry.n_rows))

    def wanted_rows(self, n_rows: int) -> range:
        """Those of them that a scan has."""
        row = self.config.scan.row
        first, stop = self.rows or ((0, n_rows) if row is None else (row, row + 1))
        return range(first, min(stop, n_rows))


def look_at(
    files: Sequence[Path],
    manifest: Manifest,
    run: RunLock,
    *,
    choice: SourceChoice,
    n_workers: int,
    again: bool,
    perform: Callable[[Call], Answer],
    on_step: OnStep,
) -> dict[Path, Contents]:
    """What is in the files, read in worker processes, as a damaged one may crash its reader or hold it up.

    Args:
        files: to look at.
        manifest: remembers what was found in files that have not changed since.
        run: this one; stopped where an interruption comes meanwhile.
        choice: what they do not say, or say wrongly.
        n_workers: processes, at most.
        again: whether to look again at files that had a problem.
        perform: does a call.
        on_step: told how many are done, and how much was read for it.
    """
    known = {path: manifest.files.known(path, choice) for path in files}
    found = {path: seen for path, seen in known.items() if seen and not (again and seen.flawed)}
    new = {path: stamp(path) for path in files if path not in found}
    bytes_read: dict[Path, int] = {}

    def tell() -> None:
        on_step(
            "look", len(found), len(files), {"gigabytes_read": sum(bytes_read.copy().values()) / 1e9} if new else {}
        )

    def call_for(path: Path) -> Call:
        def on_item(item: int | Contents) -> None:
            if isinstance(item, int):
                bytes_read[path] = item

        return Call(work=look, argument=(path, choice), lifeline=run.path, time_limit_s=_LOOK_S, on_item=on_item)

    tell()
    with ThreadPoolExecutor(max(1, min(n_workers, len(new)))) as executor:
        try:
            futures = {executor.submit(perform, call_for(path)): path for path in new}
            while futures:
                finished, _ = wait(futures, timeout=_TELL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    path = futures.pop(future)
                    found[path] = _contents(path, future)
                    manifest.files.remember(path, choice, found[path], new[path])
                    tell()
                if not finished:
                    tell()
        except BaseException:
            run.stop()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return {path: found[path] for path in files}


def _contents(path: Path, future: Future[Answer]) -> Contents:
    answer = future.result()
    if answer.items and isinstance(answer.items[-1], Contents):
        return answer.items[-1]
    return Contents("", (), f"{path}: expected a file that can be read, but {answer.failure}: copy or write it again")


def enrol(manifest: Manifest, found: Mapping[Path, Contents], wishes: Wishes) -> list[tuple[Slice, ...]]:
    """Write all slices of the scans into the manifest.

    Returns:
        The blocks of this shard, in the order in which they are to be done, settled ones included.

    Raises:
        InputError: results of other settings, or files of other origin, are in the way, and `force` is not given.
    """
    with manifest.exclusive():
        manifest.take_over(lambda owner: is_alive(manifest.folder / owner))
        names = _names(manifest, found)
        blocks: list[tuple[Slice, ...]] = []
        refused: list[Slice] = []
        for path, contents in found.items():
            sha256 = contents.sha256
            if contents.problem:
                blocks += _failed(manifest, names[path, ""], path, "", sha256, contents.problem, wishes)
            for entry in contents.entries:
                name = names[path, entry.name]
                slices = () if entry.problem else _slices(path, entry, sha256, name, wishes)
                if not slices:
                    reason = entry.problem or _no_rows(path, entry)
                    blocks += _failed(manifest, name, path, entry.name, sha256, reason, wishes)
                refused += [one for one in slices if not _place(manifest, one, wishes)]
                blocks += _cut(slices, wishes.block_of(entry), wishes)
        if refused:
            raise InputError(_refusal(manifest, refused))
    return blocks


def _names(manifest: Manifest, found: Mapping[Path, Contents]) -> dict[tuple[Path, str], str]:
    measurements = [
        (path, name, bool(name))
        for path, contents in found.items()
        for name in ([entry.name for entry in contents.entries] or [""])
    ]
    names = assign_names(measurements, manifest.files.names())
    manifest.files.take_names((name, path, entry) for (path, entry), name in names.items())
    return names


def _slices(path: Path, entry: Entry, sha256: str, name: str, wishes: Wishes) -> tuple[Slice, ...]:
    rows = wishes.wanted_rows(entry.n_rows)
    return tuple(
        Slice(
            scan=name,
            row=row,
            source=path,
            entry=entry.name,
            n_rows=entry.n_rows,
            pitch_mm=entry.pitch_mm,
            key=slice_key(wishes.settings, sha256=sha256, entry=entry.name, row=row),
            shown=row == rows[len(rows) // 2],
        )
        for row in rows
    )


def _no_rows(path: Path, entry: Entry) -> str:
    return f"{path}: expected rows below {entry.n_rows}, as the scan has, got none of those: choose other --rows"


def _failed(
    manifest: Manifest, name: str, path: Path, entry: str, sha256: str, reason: str, wishes: Wishes
) -> Iterable[tuple[Slice, ...]]:
    """What no scan can be read from has one slice, which failed."""
    key = slice_key(wishes.settings, sha256=sha256, entry=entry, row=-1)
    one = Slice(scan=name, row=0, source=path, entry=entry, n_rows=1, pitch_mm=0.0, key=key)
    # A file that could not be read to its end may be read another time; what was read stays as it is.
    manifest.put(one, "failed", reason, lasting=bool(sha256))
    return _cut((one,), 1, wishes)


def _place(manifest: Manifest, one: Slice, wishes: Wishes) -> bool:
    """Make a slice pending unless it stands as it should; False when what is in its place must not be replaced."""
    state, key, owner = manifest.standing(one) or ("", "", "")
    exists = (manifest.folder / one.result).exists()
    other = bool(state) and not same_settings(key, one.key)
    if state == "running" and is_alive(manifest.folder / owner):
        return not other
    if exists and not wishes.force and (other or not state) and state in ("", "done"):
        return False
    stands = key == one.key and not (
        state == "pending"  # perhaps with another row shown
        or (state == "done" and (wishes.force or not exists))
        or (state == "failed" and (wishes.force or wishes.retry_failed))
    )
    if not stands:
        manifest.put(one, "pending")
    return True


def _refusal(manifest: Manifest, refused: Sequence[Slice]) -> str:
    first = manifest.folder / refused[0].result
    return (
        f"expected a folder for results of these settings, but {len(refused)} of its files, such as {first}, were made "
        "with another configuration, seed or version of ctuq, or by something else: choose another --out, or --force "
        "to replace them"
    )


def _cut(slices: Sequence[Slice], row_block: int, wishes: Wishes) -> Iterator[tuple[Slice, ...]]:
    """Those blocks that are in this shard; they begin at multiples of their length, whichever rows are wanted."""
    blocks: dict[int, list[Slice]] = {}
    for one in slices:
        blocks.setdefault(one.row // row_block, []).append(one)
    return (tuple(block) for number, block in blocks.items() if _in_shard(block[0].scan, number, wishes))


def _in_shard(scan: str, number: int, wishes: Wishes) -> bool:
    """By hash, so that a shard's share does not depend on what else is in the list."""
    index, count = wishes.shard
    # Both: the number alone would send all scans of one row to one shard.
    digest = settings_key({}, version=f"{scan}:{number}", seed=0)
    return int(digest, 16) % count == index - 1
