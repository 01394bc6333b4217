"""README.md and docs/ do what they say: their code runs, their commands, options, settings, files and figures exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import ctuq
from ctuq.__main__ import main
from ctuq.commands import app
from ctuq.verdict import CHI_SQUARE_RANGE, COVERAGE_95_AT_LEAST
from operators import filtered_back_projection
from tests.pages import PAGES, README, ROOT, Block, Page

RUN = {"python", "sh", "text", "toml", "yaml"}
TEXT = "\n".join(page.prose for page in PAGES)
INLINE = [text for page in PAGES for text in page.inline]
COMMAND_LINES = sorted({line for page in PAGES for line in page.command_lines})


def commands_of(group: Any) -> dict[str, Any]:
    """By name, those of a group as "acquire next"."""
    found: dict[str, Any] = {}
    for name, command in vars(group)["commands"].items():
        inner = commands_of(command) if "commands" in vars(command) else {"": command}
        found |= {f"{name} {part}".strip(): each for part, each in inner.items()}
    return found


COMMANDS = commands_of(typer.main.get_command(app))


def options_of(command: str) -> set[str]:
    named = {name for parameter in COMMANDS[command].params for name in parameter.opts if name.startswith("--")}
    return named | {"--help"}


def without_numbers(text: str) -> list[str]:
    """Lines as they are on any machine: numbers, and how far apart words stand, are not compared."""
    lines = [re.sub(r"[-−]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?", "#", line) for line in text.splitlines()]
    return [" ".join(line.split()) for line in lines]


class Runner:
    """Runs the blocks of one page, one after the other, in one folder."""

    def __init__(self, page: Page, capsys: pytest.CaptureFixture[str]) -> None:
        self.page, self._capsys = page, capsys
        self.names: dict[str, Any] = {}
        self.printed: list[str] = []

    def run(self, block: Block) -> None:
        place = f"{self.page.name}, line {block.line}"
        if block.not_run:
            return
        assert block.language in RUN, f"{place}: run {block.language or 'what has no language'}, or say why not"
        if block.file_name:
            Path(block.file_name).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile("\n" * block.line + block.code, self.page.name, "exec"), self.names)
        elif block.language == "sh":
            for line in block.command_lines:
                words = shlex.split(line, comments=True)
                assert words[0] == "ctuq", f"{place}: only ctuq runs here, not {line}"
                assert main(words[1:]) == 0, f"{place}: {line}\n{self._capsys.readouterr().err}"
        else:
            assert block.language == "text", f"{place}: a file needs a title"
            shown = [line for line in without_numbers(block.code) if line]
            assert [line for line in shown if line not in self.printed] == [], f"{place}: not printed"
        self.printed += without_numbers(self._capsys.readouterr().out)

    def run_all(self) -> dict[str, Any]:
        for block in self.page.blocks:
            self.run(block)
        return self.names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if page.blocks and page != README], ids=lambda page: page.name)
def test_blocks_run_one_after_the_other(page: Page, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Runner(page, capsys).run_all()


def test_readme_runs_and_its_figures_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = Runner(README, capsys).run_all()
    again = ctuq.read_scan("disc.h5")
    assert again.name == "disc"
    assert again.sinogram.equal(names["scan"].sinogram)
    assert again.geometry.angles_rad == pytest.approx(names["rays"].angles_rad)
    found = names["found"]
    assert names["image"].tolist() == found.image.tolist()
    assert names["deviation"].tolist() == found.std.tolist()
    assert names["x_mm"].tolist() == found.plane.x_mm().tolist()
    assert names["y_mm"].tolist() == found.plane.y_mm().tolist()
    assert names["chi_square"] == found.calibration.chi_square


def test_the_example_that_is_written_lies_where_the_text_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 mm to the right, 0.03 1/mm: found by the geometry that the file is read back with."""
    first = next(block for block in README.blocks if block.language == "python")
    Runner(README, capsys).run(first)
    scan = ctuq.read_scan("disc.h5", size=64)
    grid = scan.planar.grid
    image = filtered_back_projection(scan.geometry, scan.sinogram, window="hann").clamp(min=0)
    mass = image.sum()
    assert float((image.sum(dim=0) * grid.x_mm()).sum() / mass) == pytest.approx(10, abs=0.5)
    assert float((image.sum(dim=1) * grid.y_mm()).sum() / mass) == pytest.approx(0, abs=0.5)
    inside = (grid.x_mm()[None] - 10).hypot(grid.y_mm()[:, None]) < 17
    assert float(image[inside].mean()) == pytest.approx(0.03, rel=0.03)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_belongs_to_a_block_that_is_looked_at(page: Page) -> None:
    assert page.text.count("```") == 2 * len(page.blocks)
    assert page.text.count("<!-- not run") == sum(bool(block.not_run) for block in page.blocks)


def test_nothing_but_fenced_blocks_holds_code() -> None:
    """Indented code would be shown, and never run."""
    indented = {page.name: re.findall(r"^\n {4,}(?![-*\d ]).*", page.prose, flags=re.MULTILINE) for page in PAGES}
    assert {name: lines for name, lines in indented.items() if lines} == {}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_commands_and_their_options_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    if len(words) == 2 and any(name.startswith(f"{words[1]} ") for name in COMMANDS):
        return  # a group of commands is named as such
    (command,) = {words[1], " ".join(words[1:3])} & set(COMMANDS)
    assert {word for word in words[2:] if word.startswith("--")} <= options_of(command)


def test_options_named_in_the_text_exist() -> None:
    known = {option for command in COMMANDS for option in options_of(command)} | {"--version"}
    named = {text.split()[0] for page in PAGES for text in page.inline if text.startswith("--")}
    assert named <= known


def test_options_said_to_be_everywhere_are() -> None:
    for command in COMMANDS:
        assert {"--help", "--json", "--debug"} <= options_of(command)


def test_settings_named_in_the_text_exist() -> None:
    in_commands = [setting for line in COMMAND_LINES for setting in re.findall(r"--set (\S+)", line)]
    sections = "|".join(ctuq.Config.model_fields)
    alone = [text for text in INLINE if re.fullmatch(rf"({sections})\.\w+(=\S+)?", text)]
    for setting in in_commands + alone:
        name, value_given, _ = setting.partition("=")
        section, _, key = name.partition(".")
        assert key in ctuq.Config().as_json()[section], setting
        if value_given:
            ctuq.load_config(overrides=[setting])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = INLINE + [line for page in PAGES for block in page.blocks for line in block.code.splitlines()]
    targets = set(re.findall(r"\bmake (?:[A-Z]+=\S+ )?([a-z][a-z-]*)", "\n".join(code)))
    assert {"demo", "docs", "test", "test-slow", "lint"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_files_that_are_named_or_run_exist() -> None:
    linked = set(re.findall(r"\[[^\]]*\]\(([^)#:]+)\)", README.prose))
    folders = "operators|dip|design|ctuq|tests|configs|data_scripts|docs"
    named = {text for text in INLINE if re.fullmatch(rf"(?:{folders})/[\w/.*-]+\.\w+", text)}
    run = {f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m (tests\.[\w.]+)", TEXT)}
    assert all((linked, named, run))
    assert [name for name in linked | named | run if not list(ROOT.glob(name))] == []


@pytest.mark.parametrize("page", [README, Page(ROOT / "docs/calibration.md")], ids=lambda page: page.name)
def test_the_rule_for_calibrated_is_the_one_that_is_applied(page: Page) -> None:
    low, high = CHI_SQUARE_RANGE
    flat = " ".join(page.text.split())
    assert f"chi-square per ray from {low:g} to {high:g} and coverage of at least {COVERAGE_95_AT_LEAST:.2f}" in flat
