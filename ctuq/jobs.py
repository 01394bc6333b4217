"""What the commands do, from a scan on disk to files beside the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctuq.computing_device import resolve_device
from ctuq.config import Config, load_config
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.neighbour import Neighbour
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from ctuq.source_choice import SourceChoice
from ctuq.survivable_scan import read_survivable_scan
from ctuq.typed_command import typed_command
from ctuq.whole_file import require_outputs

DEMO_OVERRIDES = ("grid.size=128", "scan.angle_step=3")
"""Settings of `ctuq demo` that differ from the defaults."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One reconstruction that was asked for.

    Args:
        scan: file of any layout that ctuq reads.
        out: result file to write.
        config: YAML file, or None for the defaults.
        overrides: "key=value" strings that win over the file.
        seed: of every random draw.
        device: auto, cpu or cuda.
        with_report: whether a picture and an HTML report go beside the result.
        force: whether existing files may be replaced.
        command: what to type to have it again.
        choice: what the file does not say, or says wrongly.
    """

    scan: Path
    out: Path
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    with_report: bool = True
    force: bool = False
    command: str
    choice: SourceChoice = field(default_factory=SourceChoice)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file that will be written, the result first."""
        return (
            (self.out, self.out.with_suffix(".png"), self.out.with_suffix(".html")) if self.with_report else (self.out,)
        )


def reconstruct_to_files(request: Request, events: Events) -> Reconstruction:
    """Reconstruct a scan and write the result, the picture and the report.

    Raises:
        InputError: the request is wrong; found before anything is computed wherever that is possible.
    """
    require_outputs(request.outputs, source=request.scan, force=request.force)
    resolve_device(request.device)
    config = load_config(request.config, overrides=request.overrides)
    scan = read_survivable_scan(request.scan, row=config.scan.row, choice=request.choice)
    found = reconstruct_scan(scan, config, request, events)
    _write(found, request, events)
    events.finished(found)
    return found


def reconstruct_scan(
    scan: Scan, config: Config, request: Request, events: Events, *, neighbour: Neighbour | None = None
) -> Reconstruction:
    """What was asked for, of one row, with the command that repeats it; of several, `neighbour` is the one before."""
    device = resolve_device(request.device)
    found = reconstruct(scan, config, seed=request.seed, device=device, on_step=events.step, neighbour=neighbour)
    return replace(found, provenance=replace(found.provenance, command=request.command))


def demo_to_files(folder: Path, *, force: bool, events: Events) -> Reconstruction:
    """Reconstruct the scan that ships with ctuq into ctuq-demo.h5, .png and .html in a folder, made if need be.

    Raises:
        InputError: the files exist and `force` is not given, or the folder cannot be made or written to.
    """
    if not folder.exists() and folder.parent.is_dir():
        try:
            folder.mkdir()
        except OSError as error:
            raise InputError(f"expected a folder that can be made, but {folder} cannot ({error.strerror})") from error
    request = Request(
        scan=demo_scan(),
        out=folder / "ctuq-demo.h5",
        overrides=DEMO_OVERRIDES,
        force=force,
        command="ctuq demo --out ctuq-demo-again",
    )
    return reconstruct_to_files(request, events)


def demo_scan() -> Path:
    """The scan that ships with ctuq."""
    return Path(__file__).parent / "data" / "htc2022_ta.h5"


def repeating_command(
    scan: Path,
    *,
    choice: SourceChoice,
    config: Path | None,
    overrides: tuple[str, ...],
    row: int | None,
    seed: int,
    device: str,
    rows: tuple[int, int] | None = None,
) -> str:
    """The command that repeats a reconstruction in the scan's folder, without overwriting the first result.

    Args:
        scan: file.
        choice: what it does not say, or says wrongly.
        config: YAML file, or None.
        overrides: "key=value" strings.
        row: of the detector; None: not named.
        seed: of every random draw.
        device: auto, cpu or cuda.
        rows: [first, stop), where it is the last of them that is repeated, which takes those before it.
    """
    return typed_command(
        "reconstruct",
        scan,
        outs=[f"{scan.stem}-again.h5"],
        choice=choice,
        config=config,
        overrides=overrides,
        options=[
            *(["--row", str(row)] if row is not None else []),
            *(["--rows", f"{rows[0]}:{rows[1]}"] if rows is not None else []),
            *("--seed", str(seed)),
        ],
        device=device,
    )


def _write(found: Reconstruction, request: Request, events: Events) -> None:
    steps: tuple[Callable[[Path], Path], ...] = (
        lambda path: found.save(path, force=request.force),
        found.picture,
        found.report,
    )
    for done, (write, path) in enumerate(zip(steps, request.outputs, strict=False)):
        events.step("write", done, len(request.outputs), {})
        write(path)
        events.written.append(path)
    events.step("write", len(request.outputs), len(request.outputs), {})
