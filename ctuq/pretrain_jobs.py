"""What `ctuq pretrain` does: a scan's geometry and noise in, a file of weights out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ctuq.computing_device import resolve_device
from ctuq.config import load_config
from ctuq.errors import InputError
from ctuq.events import Events
from ctuq.initial_weights import InitialWeights
from ctuq.pretraining import pretrain
from ctuq.source_choice import SourceChoice
from ctuq.survivable_scan import read_survivable_scan
from ctuq.whole_file import require_writable


@dataclass(frozen=True, kw_only=True)
class PretrainRequest:
    """Weights that were asked for.

    Args:
        scan: file of any layout that ctuq reads.
        out: file to write.
        config: YAML file, or None for the defaults.
        overrides: "key=value" strings that win over the file.
        seed: of every random draw.
        device: auto, cpu or cuda.
        force: whether an existing file may be replaced.
        choice: what the scan's file does not say, or says wrongly.
    """

    scan: Path
    out: Path
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    force: bool = False
    choice: SourceChoice = field(default_factory=SourceChoice)


def pretrain_to_file(request: PretrainRequest, events: Events) -> InitialWeights:
    """Train networks for scans like this one, and write their weights.

    Raises:
        InputError: the request is wrong; found before anything is computed wherever that is possible.
    """
    if request.scan.exists() and request.out.exists() and request.scan.samefile(request.out):
        raise InputError(f"expected --out to differ from the scan, got {request.out} for both; try another name")
    require_writable(request.out, force=request.force)
    device = resolve_device(request.device)
    config = load_config(request.config, overrides=request.overrides)
    scan = read_survivable_scan(request.scan, row=config.scan.row, choice=request.choice)
    found = pretrain(scan, config, seed=request.seed, device=device, on_step=events.step)
    events.written.append(found.save(request.out, force=request.force))
    return found
