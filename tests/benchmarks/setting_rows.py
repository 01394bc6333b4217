"""Results with one row a setting of angles and noise; a new figure joins those that were there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.environment import RESULTS, save


def read_rows(name: str) -> list[dict[str, Any]]:
    """Rows of results/NAME.json, by angles and noise; none without the file."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["settings"] if path.exists() else []
    return rows


def merge_row(name: str, row: Mapping[str, object], **about: object) -> Path:
    """Put one row's figures into results/NAME.json, in place of older ones of the same names and setting.

    Args:
        name: of the file.
        row: figures by name, with "angles" and "noise".
        about: what holds for all rows.
    """
    rows = {(old["angles"], old["noise"]): old for old in read_rows(name)}
    setting = (row["angles"], row["noise"])
    rows[setting] = {**rows.get(setting, {}), **row}
    return save(name, {**about, "settings": [rows[key] for key in sorted(rows)]})
