from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctuq.config import Config, load_config
from ctuq.errors import InputError

SECTIONS = (
    "grid",
    "scan",
    "preprocessing",
    "network",
    "fit",
    "pretraining",
    "prior",
    "evidence",
    "posterior",
    "holdout",
    "design",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("grid:\n  size: 32\nfit:\n  steps: 7\n  learning_rate: 1e-3\n", encoding="utf-8")
    return path


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("# only a comment\n", encoding="utf-8")
    assert load_config() == load_config({}) == load_config(empty) == Config()
    assert tuple(Config().as_json()) == SECTIONS


def test_a_file_a_path_and_a_mapping_say_the_same(file: Path) -> None:
    config = load_config(file)
    assert config == load_config(str(file))
    assert config == load_config({"grid": {"size": 32}, "fit": {"steps": 7, "learning_rate": 1e-3}})
    assert (config.grid.size, config.fit.steps, config.fit.learning_rate) == (32, 7, 1e-3)
    assert config.fit.refit_steps == Config().fit.refit_steps


def test_overrides_win_and_leave_the_rest(file: Path) -> None:
    config = load_config(
        file, overrides=["grid.size=48", "posterior.method=dense", "grid.size=64", "fit.tv_weights=[0]"]
    )
    assert (config.grid.size, config.fit.steps) == (64, 7)
    assert config.posterior.method == "dense"
    assert config.fit.tv_weights == (0.0,)
    assert load_config({"grid": {"size": 3}}, overrides=["grid.size=null"]).grid.size is None


def test_overrides_do_not_write_into_the_callers_mapping() -> None:
    mine: dict[str, Any] = {"grid": {"size": 32}}
    load_config(mine, overrides=["grid.size=48", "fit.steps=3"])
    assert mine == {"grid": {"size": 32}}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"fit": {"tv_weights": [0, 1e-5], "misfit_floors": [0.1, float("inf")], "bfloat16": True}},
        {"network": {"channels": [4, 8], "skip_channels": [2], "output": "sigmoid"}, "prior": {"kind": "block"}},
        {"preprocessing": {"centre": 3.5, "broken_columns": [1, 4], "largest_line_integral": 8.0, "rings": "all"}},
        {"preprocessing": {"centre": "find"}},
        {"grid": {"size": 7, "pixel_mm": 0.3}, "scan": {"detector_bin": 2, "row": 0}, "holdout": {"fraction": 0.25}},
    ],
    ids=["defaults", "fit", "network", "preprocessing", "axis", "grid"],
)
def test_a_resolved_configuration_is_json_that_gives_it_back(values: dict[str, Any]) -> None:
    config = load_config(values)
    text = json.dumps(config.as_json(), allow_nan=False)
    assert load_config(json.loads(text)) == config


@pytest.mark.parametrize(
    ("values", "name", "known"),
    [
        ({"grids": {"size": 3}}, "grids", SECTIONS),
        ({"grid": {"sizes": 3}}, "grid.sizes", ("in section grid", "size", "pixel_mm")),
        ({"fit": {"tv_weight": 0}}, "fit.tv_weight", ("in section fit", "tv_weights", "steps")),
        ({"network": {"chanels": [4]}}, "network.chanels", ("in section network", "channels", "output")),
        ({1: {}}, "1", SECTIONS),
    ],
)
def test_an_unknown_key_is_named_with_the_keys_that_exist(
    values: dict[str, Any], name: str, known: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(values)
    message = str(caught.value)
    assert f"got {name};" in message
    assert all(key in message for key in known)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("grid.size=0", "grid.size, got 0"),
        ("grid.size=12.5", "grid.size, got 12.5"),
        ("grid.pixel_mm=-1", "grid.pixel_mm, got -1"),
        ("grid.pixel_mm=.nan", "grid.pixel_mm, got nan"),
        ("scan.angle_step=0", "scan.angle_step, got 0"),
        ("fit.steps=0", "steps must be at least 1, got 0"),
        ("fit.steps=.inf", "fit.steps, got inf"),
        ("fit.tv_weights=[]", "tv_weights must be one or more numbers"),
        ("network.channels=[4]", "skip_channels must be 0 numbers"),
        ("network.output=tanh", "network.output, got 'tanh'"),
        ("prior.kind=layered", "prior.kind, got 'layered'"),
        ("prior.pixel_floor=0", "pixel_floor must be positive, got 0"),
        ("evidence.method=guess", "evidence.method, got 'guess'"),
        ("posterior.n_samples=1", "n_samples must be at least 2, got 1"),
        ("holdout.fraction=0.3", "holdout.fraction, got 0.3"),
        ("preprocessing.centre=middle", "preprocessing.centre"),
        ("preprocessing.centre=.inf", "centre must be file, find or a detector index, got inf"),
        ("preprocessing.broken_columns=[3, -1]", "broken_columns must count from 0, got -1"),
        ("preprocessing.largest_line_integral=0", "largest_line_integral must be positive, got 0"),
        ("preprocessing.rings=wavelet", "preprocessing.rings"),
    ],
)
def test_a_bad_value_is_named_with_what_came(override: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(overrides=[override])
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (["grid.size=0"], "--set grid.size=0: expected a valid grid.size"),
        (["grid.sizes=3"], "--set grid.sizes=3: expected a known configuration key"),
        (["grids.size=3"], "--set grids.size=3: expected a known configuration key"),
        (["fit.steps=0"], "--set fit.steps=0: expected a valid fit"),
        (["fit.tv_weights=[-1]", "fit.tv_weights=[]"], "--set fit.tv_weights=[]: expected a valid fit"),
        (["network.channels=[4]"], "--set network.channels=[4]: expected a valid network"),
    ],
)
def test_an_override_is_blamed_for_its_value_and_the_file_for_its_own(
    file: Path, overrides: list[str], blamed: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(file, overrides=["design.retries=3", *overrides])
    assert str(caught.value).startswith(blamed)
    assert str(file) not in str(caught.value)


@pytest.mark.parametrize("content", ["grid: {size: 0}", "fit: {steps: 0}"])
def test_the_file_is_blamed_where_others_are_overridden(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_config(path, overrides=["grid.pixel_mm=0.5", "fit.refit_steps=3"])
    assert str(caught.value).startswith(f"{path}: expected a valid ")
    assert "--set" not in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        load_config({"grid": {"size": 0}, "fit": {"step": 3}})
    assert "grid.size" in str(caught.value)
    assert "fit.step;" in str(caught.value)


@pytest.mark.parametrize("override", ["grid.size", "size=3", "grid.size.x=3", "=3", "grid.=3", "grid.size=[1", ""])
def test_an_override_in_another_form_is_shown_the_form(override: str) -> None:
    with pytest.raises(InputError, match=r"grid\.size=128"):
        load_config(overrides=[override])


@pytest.mark.parametrize("section", [None, 3, [1]])
def test_an_override_of_a_section_without_keys_is_refused(section: object) -> None:
    with pytest.raises(InputError, match="expected grid to be a section with keys"):
        load_config({"grid": section}, overrides=["grid.size=3"])
    with pytest.raises(InputError, match="expected a valid grid"):
        load_config({"grid": section})


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(InputError, match=r"missing\.yaml does not exist"):
        load_config(missing)
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    for name, content, message in (
        ("broken", b"grid: [1", r"expected YAML, but .*broken\.yaml is not"),
        ("list", b"- grid", r"expected sections with keys in .*list\.yaml, got list"),
        ("binary", b"\xff\xfe\x00", r"binary\.yaml cannot be read"),
        ("object", b"!!python/object:os.system {}", r"expected YAML"),
    ):
        path = tmp_path / f"{name}.yaml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_config(path)


def test_a_wrong_configuration_ends_the_command_with_code_2() -> None:
    assert InputError.exit_code == 2
    with pytest.raises(ValueError, match="expected a known"):
        load_config({"grids": {}})
