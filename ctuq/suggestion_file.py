"""Suggested views on disk, for whoever turns the motor: angles in degrees as .npy, .csv or .json, in their order."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctuq.errors import InputError
from ctuq.whole_file import written_whole

_SUFFIXES = (".npy", ".csv", ".json")


def require_known_format(path: Path) -> None:
    """Say now whether suggestions could be written to a file of this name.

    Raises:
        InputError: a suffix that stands for no format.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"expected --out to end in {', '.join(_SUFFIXES)}, got {path.name}")


def write_suggestions(points: Sequence[dict[str, Any]], path: Path, *, force: bool) -> None:
    """Write the views of `ctuq.acquisition.Suggestions`, whole or not at all.

    `.npy`: degrees alone, as TomoScan reads its angles. `.csv`: angle_deg and score. `.json`: the points as they are.

    Raises:
        InputError: another suffix, the file exists and `force` is not given, or its folder is missing or read-only.
    """
    require_known_format(path)
    with written_whole(path, force=force) as part:
        if path.suffix.lower() == ".npy":
            with part.open("wb") as file:  # np.save would add its suffix to the name
                np.save(file, np.round(np.array([point["angle_deg"] for point in points], dtype=np.float64), 12))
        elif path.suffix.lower() == ".csv":
            with part.open("w", encoding="utf-8", newline="") as text:
                table = csv.writer(text, lineterminator="\n")
                table.writerow(["angle_deg", "score"])
                table.writerows((point["angle_deg"], point["score"]) for point in points)
        else:
            part.write_text(json.dumps(list(points), indent=1), encoding="utf-8")
