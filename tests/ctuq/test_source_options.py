from __future__ import annotations

import dataclasses
import inspect

import pytest
import typer
from typer.testing import CliRunner

from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options

FIELDS = [field.name for field in dataclasses.fields(SourceChoice)]


@pytest.mark.parametrize("named", [{}, {"flats": "b.tif"}, {name: f"/{name}" for name in FIELDS}])
def test_every_part_of_a_choice_has_an_option(named: dict[str, str]) -> None:
    got: list[tuple[str, SourceChoice]] = []

    @with_source_options
    def command(*, scan: str, choice: SourceChoice, after: int = 0) -> None:
        got.append((scan, choice))

    assert list(inspect.signature(command).parameters) == ["scan", *FIELDS, "after"]
    app = typer.Typer()
    app.command()(command)
    options = [word for name, value in named.items() for word in (f"--{name}", value)]
    assert CliRunner().invoke(app, ["a.h5", *options]).exit_code == 0
    assert got == [("a.h5", SourceChoice(**named))]
