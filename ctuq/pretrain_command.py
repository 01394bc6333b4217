"""`ctuq pretrain` and its options. What it does is in `ctuq.pretrain_jobs`."""

from pathlib import Path
from typing import Annotated

import typer

from ctuq.amount import amount
from ctuq.options import ConfigFile, Debug, Device, DeviceOption, Force, Json, Overrides, ScanFile, Seed
from ctuq.outcome import outcome
from ctuq.pretrain_jobs import PretrainRequest, pretrain_to_file
from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options


@with_source_options
def pretrain(  # noqa: PLR0913  one argument an option
    *,
    scan: ScanFile,
    out: Annotated[Path, typer.Option(metavar="W.safetensors", help="File of weights to write, for fit.init.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    choice: SourceChoice,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the network on random ellipses seen as in this scan: weights for fit.init, and fits of fewer steps."""
    request = PretrainRequest(
        scan=scan,
        out=out,
        config=config,
        overrides=tuple(overrides or ()),
        seed=seed,
        device=device.value,
        force=force,
        choice=choice,
    )
    with outcome(as_json=json, debug=debug) as events:
        record = pretrain_to_file(request, events).record
        networks = amount(len(record["rms_error"]), "network")
        errors = ", ".join(f"{error:.3g}" for error in record["rms_error"])
        lines = [
            f"{out.name}: {networks}, trained on {record['settings']['images']:,} images",
            f"  noise         {100 * record['noise_share']:.2g} % of the mean line integral",
            f"  rms error     {errors} on images kept from training; of the input {record['rms_error_of_input']:.3g}",
            f"  wrote         {out}",
            f"  try           --set fit.init={out} with a third of fit.steps and fit.refit_steps",
        ]
        events.said(lines, {"event": "pretrained", "written": [str(out)], **record})
