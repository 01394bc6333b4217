"""Names of results: the file's own where it can be, told apart by folder where several files share one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

_RESERVED = ("index", "manifest")  # of the folder itself


def assign_names(
    measurements: Sequence[tuple[Path, str, bool]], taken: Mapping[str, tuple[Path, str]]
) -> dict[tuple[Path, str], str]:
    """Give every measurement a name of its own. Neither their order nor the machine decides it.

    Args:
        measurements: (file, entry, whether the file has several entries).
        taken: names of an earlier run, name to (file, entry); they stay.

    Returns:
        (file, entry) to name. One file of a name is called by it; several get their folder's name too, as in
        `scan-monday`, or their ending, as in `scan-toml`, or both, or, where that does not tell them apart, eight
        digits of the path's SHA-256, which another machine may have elsewhere. Capital letters do not, as some file
        systems ignore them.
    """
    names = {owner: name for name, owner in taken.items()}
    used = {name.casefold() for name in (*taken, *_RESERVED)}
    fresh = sorted({(path, entry, several) for path, entry, several in measurements if (path, entry) not in names})
    candidates = [
        {(path, entry): make(path, entry if several else "") for path, entry, several in fresh}
        for make in (_plain, _with_folder, _with_ending, _with_both, _with_digest)
    ]
    for candidate in candidates:
        left = {owner: name for owner, name in candidate.items() if owner not in names}
        many = Counter(name.casefold() for name in left.values())
        found = {
            owner: name for owner, name in left.items() if many[name.casefold()] == 1 and name.casefold() not in used
        }
        names |= found
        used |= {name.casefold() for name in found.values()}
    return names


def _plain(path: Path, entry: str) -> str:
    return f"{path.stem}-{entry.strip('/').replace('/', '-')}" if entry else path.stem


def _with_folder(path: Path, entry: str) -> str:
    return f"{_plain(path, entry)}-{path.parent.name}"


def _with_ending(path: Path, entry: str) -> str:
    return f"{_plain(path, entry)}-{path.suffix.removeprefix('.')}"


def _with_both(path: Path, entry: str) -> str:
    return f"{_with_folder(path, entry)}-{path.suffix.removeprefix('.')}"


def _with_digest(path: Path, entry: str) -> str:
    return f"{_plain(path, entry)}-{hashlib.sha256(f'{path}:{entry}'.encode()).hexdigest()[:8]}"
