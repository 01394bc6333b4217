"""A replay as a NeXus tree, and in lines for a terminal."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ctuq.nexus import Attribute, Field, Group, Link, verify_tree, write_tree
from ctuq.rays import degrees_of
from ctuq.replay_curves import Curve, Replay
from ctuq.whole_file import written_whole

_UNITS = {"psnr": "dB", "ssim": "", "chi_square": "", "mean_std": "1/mm", "rms_std": "1/mm"}


def write_replay(replay: Replay, path: Path, *, force: bool = False) -> Path:
    """Write /entry/replay/<strategy>, whole or not at all.

    Raises:
        InputError: the file exists and `force` is not given, or its folder is missing or read-only.
        CtuqError: what was read back is not what was written.
    """
    tree = replay_tree(replay)
    with written_whole(path, force=force) as part:
        write_tree(tree, part)
        verify_tree(tree, part)
    return path


def replay_tree(replay: Replay) -> Group:
    """Every strategy an NXdata of PSNR against the number of views."""
    groups: dict[str, Field | Link | Group] = {
        name: _curve_group(curve, replay.angles_rad) for name, curve in replay.curves.items()
    }
    settings = replay.settings
    attributes: dict[str, Attribute] = {
        "default": "planned",
        "criterion": settings.criterion,
        "start": settings.start,
        "every": settings.every,
    }
    members: dict[str, Field | Link | Group] = {
        "title": Field(replay.scan_name),
        "replay": Group("NXcollection", groups, attributes),
    }
    return Group("NXroot", {"entry": Group("NXentry", members, {})}, {"default": "entry", "creator": "ctuq"})


def _curve_group(curve: Curve, angles_rad: tuple[float, ...]) -> Group:
    members: dict[str, Field | Link | Group] = {
        "n_angles": Field(np.array([point.n_angles for point in curve.points])),
        "angle_deg": Field(degrees_of([angles_rad[view] for view in curve.views]), {"units": "degree"}),
    }
    for name, unit in _UNITS.items():
        values = np.array([getattr(point, name) for point in curve.points], dtype=np.float64)
        members[name] = Field(values, {"units": unit} if unit else {})
    promised = [point.promised_std for point in curve.points]
    if any(value is not None for value in promised):
        values = np.array([math.nan if value is None else value for value in promised])
        members["promised_std"] = Field(values, {"units": "1/mm", "long_name": "promised for rms_std"})
    return Group("NXdata", members, {"signal": "psnr", "axes": ["n_angles"]})


def replay_lines(replay: Replay) -> list[str]:
    """PSNR of every strategy by number of views, for a terminal."""
    width = max(map(len, replay.curves))
    lines = [
        f"{replay.scan_name}: PSNR in dB against the reference, by number of views",
        f"  {'':<{width}} " + "".join(f"{n:>8}" for n in replay.settings.points),
    ]
    for name, curve in replay.curves.items():
        lines.append(f"  {name:<{width}} " + "".join(f"{point.psnr:>8.2f}" for point in curve.points))
    return lines
