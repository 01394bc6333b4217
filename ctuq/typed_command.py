"""A command as one types it to have its result again, in the folder of its source."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ctuq.source_choice import SourceChoice


def typed_command(
    verb: str,
    source: Path,
    *,
    outs: Sequence[str],
    choice: SourceChoice,
    config: Path | None,
    overrides: Sequence[str],
    options: Sequence[str],
    device: str,
) -> str:
    """The command, quoted for a shell, with paths from the source's folder.

    Args:
        verb: "reconstruct", "plan" or "replay".
        source: scan or result.
        outs: names of files to write that are not those of the first result.
        choice: what the source's file does not say, or says wrongly.
        config: YAML file, or None.
        overrides: "key=value" strings.
        options: further words.
        device: auto, which goes without saying, or another.
    """
    words = ["ctuq", verb, source.name, *(word for out in outs for word in ("--out", out))]
    for name, value in asdict(choice).items():
        if value is not None:
            is_file = Path(value).is_file() or (source.suffix.lower() == ".toml" and name != "entry")
            words += [f"--{name}", os.path.relpath(value, source.parent) if is_file else value]
    words += ["--config", os.path.relpath(config, source.parent)] if config else []
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, *options, *(["--device", device] if device != "auto" else [])])
