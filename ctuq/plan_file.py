"""A plan on disk, for whoever turns the motor: angles in degrees as .npy, .csv, .json or .h5."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ctuq.angle_plan import AnglePlan
from ctuq.errors import InputError
from ctuq.nexus import Attribute, Field, Group, verify_tree, write_tree
from ctuq.rays import degrees_of
from ctuq.whole_file import written_whole


def write_plan(plan: AnglePlan, path: Path, *, force: bool = False) -> Path:
    """Write a plan as its suffix says, whole or not at all.

    Raises:
        InputError: another suffix, the file exists and `force` is not given, or its folder is missing or read-only.
    """
    write = writer(path)
    with written_whole(path, force=force) as part:
        write(plan, part)
    return path


def writer(path: Path) -> Callable[[AnglePlan, Path], None]:
    """What writes a plan to a file of this name.

    Raises:
        InputError: a suffix that stands for no format.
    """
    found = _WRITERS.get(path.suffix.lower())
    if found is None:
        raise InputError(
            f"expected a plan's file to end in {', '.join(_WRITERS)}, got {path.name}: try {path.stem or 'angles'}.npy"
        )
    return found


def plan_tree(plan: AnglePlan) -> Group:
    """/entry/plan, as NeXus has it."""
    members = {
        "angle_deg": Field(degrees_of(plan.angles_rad), {"units": "degree"}),
        "score": Field(plan.scores.numpy(), {"units": plan.unit}),
        "order": Field(plan.order.numpy(), {"long_name": "when to measure it, from 0"}),
        "region_std": Field(plan.region_std.numpy(), {"units": "1/mm"}),
    }
    attributes: dict[str, Attribute] = {
        "signal": "score",
        "axes": ["angle_deg"],
        "criterion": plan.criterion,
        "notes": list(plan.notes),
    }
    entry = Group(
        "NXentry", {"title": Field(plan.scan_name), "plan": Group("NXdata", members, attributes)}, {"default": "plan"}
    )
    return Group("NXroot", {"entry": entry}, {"default": "entry", "creator": "ctuq"})


def plan_record(plan: AnglePlan) -> dict[str, object]:
    """The plan in JSON's types."""
    rows = zip(degrees_of(plan.angles_rad).tolist(), plan.scores.tolist(), plan.order.tolist(), strict=True)
    return {
        "scan": plan.scan_name,
        "criterion": plan.criterion,
        "unit": plan.unit,
        "views": [{"angle_deg": angle, "score": score, "order": order} for angle, score, order in rows],
        "region_std_per_mm": plan.region_std.tolist(),
        "notes": list(plan.notes),
    }


def _write_npy(plan: AnglePlan, part: Path) -> None:
    with part.open("wb") as file:  # np.save would add its suffix to the name
        np.save(file, degrees_of(plan.angles_rad[plan.order.argsort()]))


def _write_csv(plan: AnglePlan, part: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["angle_deg", "score", "order"])
    table.writerows(zip(degrees_of(plan.angles_rad).tolist(), plan.scores.tolist(), plan.order.tolist(), strict=True))
    part.write_text(text.getvalue(), encoding="utf-8")


def _write_json(plan: AnglePlan, part: Path) -> None:
    part.write_text(json.dumps(plan_record(plan), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_h5(plan: AnglePlan, part: Path) -> None:
    tree = plan_tree(plan)
    write_tree(tree, part)
    verify_tree(tree, part)


_WRITERS: dict[str, Callable[[AnglePlan, Path], None]] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".json": _write_json,
    ".h5": _write_h5,
}
