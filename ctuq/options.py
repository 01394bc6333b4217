"""Options that several commands share."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ctuq.errors import InputError


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class CriterionName(StrEnum):
    """What a view is worth: information (jointly, or ray by ray), squared error, or the region's variance."""

    EIG = "eig"
    DIAGONAL_EIG = "diagonal-eig"
    ESE = "ese"
    ROI = "roi"


ScanFile = Annotated[
    Path, typer.Argument(metavar="SCAN", help="HDF5 (NXtomo, Data Exchange, ctuq's own) or the .toml of a TIFF stack.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="C.yaml", help="Settings; see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, such as grid.size=128. Repeatable."),
]
Candidates = Annotated[
    str,
    typer.Option(
        "--candidates", metavar="N|FILE", help="Views to choose from: so many over 180° (fan: 360°), or degrees."
    ),
]
Criterion = Annotated[CriterionName, typer.Option("--criterion", help="What a view is worth.")]
Region = Annotated[
    str | None,
    typer.Option("--roi", metavar="REGION", help="disc:X,Y,R or rectangle:LEFT,BOTTOM,RIGHT,TOP in mm."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto is the CPU, as cuda has not been run on a GPU yet.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON lines on standard output, no bars.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def parse_rows(text: str | None) -> tuple[int, int] | None:
    """Detector rows A:B as (first, stop).

    Raises:
        InputError: something else, or no rows.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"expected --rows A:B with A below B, got {text}: 10:20 is rows 10 to 19")
    return int(found[1]), int(found[2])
