"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    Path, typer.Argument(metavar="SCAN", help="Sinogram file (HDF5): angles in degrees, lengths in mm.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="C.yaml", help="Settings; see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, such as grid.size=128. Repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON lines on standard output, no bars.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
