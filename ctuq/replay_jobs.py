"""What `ctuq replay` does, from a scan on disk to curves and a page on disk."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ctuq.computing_device import resolve_device
from ctuq.config import load_config
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.planning import selection_of
from ctuq.replay import Replayer
from ctuq.replay_curves import Replay, ReplaySettings
from ctuq.replay_file import replay_lines, write_replay
from ctuq.replay_page import write_replay_page
from ctuq.source_choice import SourceChoice
from ctuq.survivable_scan import read_survivable_scan
from ctuq.typed_command import typed_command
from ctuq.whole_file import require_outputs


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """One replay that was asked for.

    Args:
        scan: file of any layout that ctuq reads, with all views.
        out: curves to write (.h5); the page goes beside it, finished points into a folder beside it.
        settings: how.
        reference: image in 1/mm (.npy), or None.
        config: YAML file, or None for the defaults.
        overrides: "key=value" strings that win over the file.
        seed: of every random draw.
        device: auto, cpu or cuda.
        force: whether existing files may be replaced; finished points are kept in any case.
        choice: what the file does not say, or says wrongly.
    """

    scan: Path
    out: Path
    settings: ReplaySettings
    reference: Path | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    force: bool = False
    choice: SourceChoice = field(default_factory=SourceChoice)

    @property
    def points(self) -> Path:
        """The folder of finished points."""
        return self.out.with_suffix(".points")

    @property
    def command(self) -> str:
        """What to type to have it again."""
        how = self.settings
        reference = [] if self.reference is None else ["--reference", os.path.relpath(self.reference, self.scan.parent)]
        numbers = {"--start": how.start, "-n": how.n_angles, "--every": how.every, "--random-seeds": how.random_seeds}
        return typed_command(
            "replay",
            self.scan,
            outs=[f"{self.out.stem}-again.h5"],
            choice=self.choice,
            config=self.config,
            overrides=self.overrides,
            options=[
                *(word for name, number in numbers.items() for word in (name, str(number))),
                *("--against", ",".join(how.against), "--criterion", how.criterion, *reference),
                *("--seed", str(self.seed)),
            ],
            device=self.device,
        )


def replay_to_files(request: ReplayRequest, events: Events) -> Replay:
    """Replay, say what came out, and write it. What an earlier run finished is not done again.

    Raises:
        InputError: the request is wrong; found before anything is computed wherever that is possible.
    """
    page = request.out.with_suffix(".html")
    require_outputs((request.out, page), source=request.scan, force=request.force)
    device = resolve_device(request.device)
    config = load_config(request.config, overrides=request.overrides)
    selection_of(request.settings.criterion, config.design)
    scan = read_survivable_scan(request.scan, row=config.scan.row, choice=request.choice)
    request.points.mkdir(exist_ok=True)
    replayer = Replayer(
        scan,
        config,
        request.settings,
        request.points,
        reference=_reference(request.reference),
        seed=request.seed,
        device=device,
        on_step=events.step,
    )
    events.written.append(request.points)
    found = replayer.run()
    found = replace(found, provenance=replace(found.provenance, command=request.command))
    events.written.append(write_replay(found, request.out, force=request.force))
    events.written.append(write_replay_page(found, page))
    record = {name: [asdict(point) for point in curve.points] for name, curve in found.curves.items()}
    lines = [*replay_lines(found), *(f"  wrote     {path}" for path in events.written)]
    events.said(lines, {"event": "replayed", "curves": record, "written": [str(path) for path in events.written]})
    return found


def _reference(path: Path | None) -> torch.Tensor | None:
    if path is None:
        return None
    try:
        image = np.asarray(np.load(path), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected an image in 1/mm as .npy, got: {error}") from error
    if image.ndim != 2 or not np.isfinite(image).all():
        raise InputError(f"{path}: expected a finite image (row, col), got shape {image.shape}")
    return torch.from_numpy(image)
