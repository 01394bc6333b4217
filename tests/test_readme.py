"""README.md does what it says: its Python runs, its commands, options, settings and files exist."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import ctuq
from ctuq.commands import app
from ctuq.reconstruction import Reconstruction
from ctuq.scan_file import find_problems
from ctuq.verdict import CHI_SQUARE_RANGE, COVERAGE_95_AT_LEAST
from operators import filtered_back_projection
from tests.ctuq.fake_results import fake_reconstruction

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
SHELL = re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
# Text between single backticks, outside of fenced blocks.
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE))
COMMAND_LINES = [line for block in SHELL for line in block.splitlines() if line.strip()]
INLINE_COMMANDS = [text for text in INLINE if re.match(r"ctuq [a-z]", text)]


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


def test_readme_has_the_parts_that_are_checked_here() -> None:
    assert (len(PYTHON), len(COMMAND_LINES) >= 4, len(INLINE_COMMANDS) >= 1) == (4, True, True)


def test_python_blocks_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the reconstruction itself, which takes minutes: it is called as it can be called, and answers at once."""
    signature = inspect.signature(ctuq.reconstruct)

    def reconstruct(*args: object, **named: object) -> Reconstruction:
        signature.bind(*args, **named)
        return fake_reconstruction()

    monkeypatch.setattr(ctuq, "reconstruct", reconstruct)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert find_problems(tmp_path / "disc.h5") == []
    again = ctuq.read_scan("disc.h5")
    assert again.name == "disc"
    assert again.sinogram.equal(names["scan"].sinogram)
    assert again.geometry.angles_rad == pytest.approx(names["rays"].angles_rad)
    assert names["config"].grid.size == 128
    assert names["image"].tolist() == names["found"].image.tolist()
    assert names["deviation"].tolist() == names["found"].std.tolist()
    assert names["x_mm"].tolist() == names["found"].grid.x_mm().tolist()
    assert names["y_mm"].tolist() == names["found"].grid.y_mm().tolist()
    assert names["chi_square"] == names["found"].calibration.chi_square
    region = names["found"].region(names["found"].image > 0.5 * names["found"].image.max())
    assert (names["mean"], names["std"]) == pytest.approx((region.mean, region.std), rel=1e-3)
    written = {"disc.h5", "from_python.h5", "from_python.html"}
    assert {path.name for path in tmp_path.iterdir()} == written


def test_the_example_that_is_written_lies_where_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 mm to the right, 0.03 1/mm: found by the geometry that the file is read back with."""
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[0], "README.md", "exec"), {})
    scan = ctuq.read_scan("disc.h5", size=64)
    grid = scan.geometry.grid
    image = filtered_back_projection(scan.geometry, scan.sinogram, window="hann").clamp(min=0)
    mass = image.sum()
    assert float((image.sum(dim=0) * grid.x_mm()).sum() / mass) == pytest.approx(10, abs=0.5)
    assert float((image.sum(dim=1) * grid.y_mm()).sum() / mass) == pytest.approx(0, abs=0.5)
    inside = (grid.x_mm()[None] - 10).hypot(grid.y_mm()[:, None]) < 17
    assert float(image[inside].mean()) == pytest.approx(0.03, rel=0.03)


@pytest.mark.parametrize("line", COMMAND_LINES + INLINE_COMMANDS)
def test_commands_and_their_options_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "ctuq"
    (command,) = {words[1], " ".join(words[1:3])} & set(COMMANDS)
    assert {word for word in words[2:] if word.startswith("--")} <= options_of(command)


def test_options_named_in_the_text_exist() -> None:
    known = {option for command in COMMANDS for option in options_of(command)}
    assert {text.split()[0] for text in INLINE if text.startswith("--")} <= known


def test_options_said_to_be_everywhere_are() -> None:
    for command in COMMANDS:
        assert {"--help", "--json", "--debug"} <= options_of(command)


def test_settings_named_in_the_text_exist() -> None:
    in_commands = re.findall(r"--set (\S+)", TEXT)
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
    code = "\n".join(INLINE + re.findall(r"^    .*$", TEXT, flags=re.MULTILINE))
    targets = set(re.findall(r"\bmake (?:[A-Z]+=\S+ )?([a-z][a-z-]*)", code))
    assert {"demo", "test", "test-slow", "lint"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_files_that_are_linked_or_run_exist() -> None:
    linked = set(re.findall(r"(?<!!)\[[^\]]*\]\(([^)#:]+)\)", TEXT))
    run = {f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m (tests\.[\w.]+)", TEXT)}
    assert linked
    assert run
    assert [name for name in linked | run if not (ROOT / name).exists()] == []


def test_the_rule_for_calibrated_is_the_one_that_is_applied() -> None:
    low, high = CHI_SQUARE_RANGE
    flat = " ".join(TEXT.split())
    assert f"chi-square per ray from {low:g} to {high:g} and coverage of at least {COVERAGE_95_AT_LEAST:.2f}" in flat
