"""The configurations in configs/ load, and default.yaml says what the defaults are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctuq import Config, load_config

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def raw(path: Path) -> dict[str, Any]:
    return flattened(yaml.safe_load(path.read_text(encoding="utf-8")))


DEFAULTS = flattened(Config().as_json())


def test_default_yaml_names_every_key_and_no_other() -> None:
    assert set(raw(CONFIGS / "default.yaml")) == set(DEFAULTS)


@pytest.mark.parametrize("key", DEFAULTS)
def test_default_yaml_states_the_default_of(key: str) -> None:
    assert raw(CONFIGS / "default.yaml")[key] == DEFAULTS[key]


def test_default_yaml_loads_to_the_defaults() -> None:
    assert load_config(CONFIGS / "default.yaml") == Config()


def test_every_key_of_default_yaml_has_a_comment() -> None:
    lines = (CONFIGS / "default.yaml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.strip() and "#" not in line] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_loads_to_what_it_says(path: Path) -> None:
    loaded = flattened(load_config(path).as_json())
    # JSON has no infinity: it is a word there.
    said = {
        key: ["Infinity" if x == float("inf") else x for x in value] if isinstance(value, list) else value
        for key, value in raw(path).items()
    }
    assert {key: loaded[key] for key in said} == said


def test_kmnist_images_lie_between_0_and_1_on_28_pixels() -> None:
    config = load_config(CONFIGS / "kmnist.yaml")
    assert (config.grid.size, config.network.output, config.grid.largest_attenuation) == (28, "sigmoid", 1.0)
