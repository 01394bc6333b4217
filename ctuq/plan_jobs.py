"""What `ctuq plan` does, from a scan or a result on disk to angles on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ctuq.amount import amount
from ctuq.angle_plan import AnglePlan
from ctuq.computing_device import resolve_device
from ctuq.config import Config, load_config
from ctuq.criteria import unit_in_words
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.hdf5 import is_result, opened, require_survivable
from ctuq.jobs import repeating_command
from ctuq.plan_file import plan_record, writer
from ctuq.planning import plan, plannable, selection_of
from ctuq.preparation import prepare
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.region_mask import region_mask
from ctuq.result_file import read_result
from ctuq.scan import Scan, planar
from ctuq.scan_file import read_scan
from ctuq.source_choice import SourceChoice
from ctuq.typed_command import typed_command
from ctuq.whole_file import require_outputs

NamedCandidates: TypeAlias = int | np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""Candidates as the command line names them: how many, or their angles in radians."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """One plan that was asked for.

    Args:
        source: a result file, or a scan to reconstruct first.
        candidates: a number, or a file of angles in degrees (.npy, or text with one a line).
        n_angles: views to choose.
        criterion: a key of `ctuq.criteria.CRITERIA`.
        roi: see `region_mask`; None: the whole image.
        out: files to write, by suffix; a picture and a page go beside the first.
        config: YAML file, or None for the defaults (of a result: its own).
        overrides: "key=value" strings that win over the file.
        seed: of every random draw.
        force: whether existing files may be replaced.
        keep: file for the reconstruction of a scan, or None.
        device: auto, cpu or cuda.
        choice: what a scan's file does not say, or says wrongly.
    """

    source: Path
    candidates: str
    n_angles: int
    criterion: str = "eig"
    roi: str | None = None
    out: tuple[Path, ...] = ()
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    force: bool = False
    keep: Path | None = None
    device: str = "auto"
    choice: SourceChoice = field(default_factory=SourceChoice)

    @property
    def picture(self) -> Path | None:
        """The PNG beside the first file."""
        return self.out[0].with_suffix(".png") if self.out else None

    @property
    def page(self) -> Path | None:
        """The HTML page beside the first file."""
        return self.out[0].with_suffix(".html") if self.out else None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file that will be written."""
        return (*self.out, *(path for path in (self.picture, self.page, self.keep) if path is not None))

    @property
    def command(self) -> str:
        """What to type to have it again."""
        candidates = Path(self.candidates)
        if candidates.is_file():
            candidates = Path(os.path.relpath(candidates, self.source.parent))
        return typed_command(
            "plan",
            self.source,
            outs=[f"{path.stem}-again{path.suffix}" for path in self.out],
            choice=self.choice,
            config=self.config,
            overrides=self.overrides,
            options=[
                *("--candidates", str(candidates), "-n", str(self.n_angles), "--criterion", self.criterion),
                *(["--roi", self.roi] if self.roi is not None else []),
                *("--seed", str(self.seed)),
            ],
            device=self.device,
        )


def plan_to_files(request: PlanRequest, events: Events) -> AnglePlan:
    """Plan, say what came out, and write it.

    Raises:
        InputError: the request is wrong; found before anything is computed wherever that is possible.
    """
    for path in request.out:
        writer(path)
    require_outputs(request.outputs, source=request.source, force=request.force)
    resolve_device(request.device)
    config = load_config(request.config, overrides=request.overrides)
    selection_of(request.criterion, config.design)
    candidates = read_candidates(request.candidates)
    source, config = _source(request, candidates, config, events)
    found = plan(
        source,
        candidates=candidates,
        n_angles=request.n_angles,
        criterion=request.criterion,
        roi=None if request.roi is None else region_mask(request.roi, source.plane),
        settings=config.design,
        seed=request.seed,
        on_step=events.step,
    )
    found = replace(found, command=request.command)
    _write(found, request, events)
    events.said([*plan_lines(found), *(f"  wrote     {path}" for path in events.written)], _record(found, events))
    return found


def read_candidates(text: str) -> NamedCandidates:
    """A number of views, or their angles in radians from a file of degrees.

    Raises:
        InputError: neither a number nor a file of numbers.
    """
    if text.isdecimal():
        return int(text)
    path = Path(text)
    if not path.is_file():
        raise InputError(f"expected --candidates as a number or a file of angles in degrees, got {text!r}: try 180")
    try:
        degrees = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, ndmin=1)
        return np.radians(np.asarray(degrees, dtype=np.float64).reshape(-1))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected angles in degrees, one a line or as .npy, got: {error}") from error


def plan_lines(found: AnglePlan) -> list[str]:
    """A small table for a terminal."""
    unit = unit_in_words(found.unit)
    before, added = float(found.region_std[0]), amount(len(found.angles_rad), "view")
    lines = [
        f"{found.scan_name}: {added} to add to {len(found.measured_rad)}, the most telling first",
        f"  deviation now {before:.4g} 1/mm (root mean square)",
        f"  {'#':>3} {'angle':>10} {f'score ({unit})':>24} {'deviation promised':>30}",
    ]
    degrees = np.degrees(found.angles_rad.numpy())
    rows = zip(degrees, found.scores.tolist(), found.region_std[1:].tolist(), found.promised_fall.tolist(), strict=True)
    for rank, (angle, score, std, fall) in enumerate(rows, start=1):
        lines.append(f"  {rank:>3} {angle:>9.3f}° {score:>24.4g} {f'{std:.4g} 1/mm ({-100 * fall:+.1f} %)':>30}")
    return [*lines, *(f"  warning   {note}" for note in found.notes)]


def _source(
    request: PlanRequest, candidates: NamedCandidates, config: Config, events: Events
) -> tuple[Reconstruction, Config]:
    require_survivable(request.source)
    if request.source.suffix.lower() == ".toml" or not _holds_result(request.source):
        return _reconstructed(request, candidates, config, events), config
    if request.keep is not None:
        raise InputError(
            f"expected --keep-reconstruction with a scan, got {request.source.name}, a result, which is kept already: "
            "leave that out"
        )
    if request.choice != SourceChoice():
        raise InputError(f"expected no part of {request.source.name} to be named, as it is a result: leave that out")
    found = read_result(request.source)
    # Its own configuration, unless the user names another.
    own = request.config or dict(found.provenance.config)
    return found, load_config(own, overrides=request.overrides)


def _holds_result(path: Path) -> bool:
    with opened(path) as file:
        return is_result(file)


def _reconstructed(request: PlanRequest, candidates: NamedCandidates, config: Config, events: Events) -> Reconstruction:
    """The scan's reconstruction, kept before anything is planned from it."""
    scan = read_scan(request.source, row=config.scan.row, choice=request.choice)
    _require_plannable(request, candidates, scan, config)  # before minutes are spent on what nobody can plan
    device = resolve_device(request.device)
    found = reconstruct(scan, config, seed=request.seed, device=device, on_step=events.step)
    if request.keep is not None:
        found = replace(found, provenance=replace(found.provenance, command=_reconstruction_command(request)))
        events.written.append(found.save(request.keep, force=request.force))
    return found


def _require_plannable(request: PlanRequest, candidates: NamedCandidates, scan: Scan, config: Config) -> None:
    planar(scan.geometry)
    geometry = prepare(scan, config).planar
    plannable(geometry, candidates, selection_of(request.criterion, config.design), n_angles=request.n_angles)
    if request.roi is not None:
        region_mask(request.roi, geometry.grid)


def _reconstruction_command(request: PlanRequest) -> str:
    return repeating_command(
        request.source,
        choice=request.choice,
        config=request.config,
        overrides=request.overrides,
        row=None,
        seed=request.seed,
        device=request.device,
    )


def _write(found: AnglePlan, request: PlanRequest, events: Events) -> None:
    for path in request.out:
        events.written.append(found.save(path, force=request.force))
    if request.picture is not None:
        events.written.append(found.picture(request.picture))
    if request.page is not None:
        events.written.append(found.report(request.page))


def _record(found: AnglePlan, events: Events) -> dict[str, object]:
    written: Sequence[str] = [str(path) for path in events.written]
    return {"event": "planned", **plan_record(found), "written": written}
