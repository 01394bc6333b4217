"""The options that name parts of a scan's file, which all commands that read one have alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ctuq.source_choice import SourceChoice

_OPTIONS = {
    "entry": typer.Option("--entry", metavar="NAME", help="One of several scans in the file."),
    "data": typer.Option(
        "--data", metavar="PATH", help="Projections (theta, y, x): path inside the file; of a TIFF stack, its files."
    ),
    "angles": typer.Option(
        "--angles", metavar="PATH", help="Path inside the file, or a .txt, .csv or .npy file of degrees."
    ),
    "flats": typer.Option("--flats", metavar="PATH", help="Frames of the open beam, likewise."),
    "darks": typer.Option("--darks", metavar="PATH", help="Frames without beam, likewise."),
}
"""By field of `SourceChoice`."""


def with_source_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: in place of its keyword `choice`, an option for every field of that."""

    @functools.wraps(command)
    def with_options(**values: Any) -> None:  # typer hands over every option by its name
        named = {name: values.pop(name) for name in _OPTIONS}
        command(choice=SourceChoice(**named), **values)

    parameters = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name == "choice":
            for name, option in _OPTIONS.items():
                annotation = Annotated[str | None, option]
                parameters.append(inspect.Parameter(name, parameter.kind, default=None, annotation=annotation))
        else:
            parameters.append(parameter)
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_options
