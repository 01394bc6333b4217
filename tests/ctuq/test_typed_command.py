"""The command that repeats a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctuq.jobs import repeating_command
from ctuq.plan_jobs import PlanRequest
from ctuq.replay_curves import ReplaySettings
from ctuq.replay_jobs import ReplayRequest
from ctuq.source_choice import SourceChoice

SCAN = Path("scan.h5")


def commands(device: str) -> list[str]:
    """Of all verbs."""
    made = repeating_command(SCAN, choice=SourceChoice(), config=None, overrides=(), row=None, seed=0, device=device)
    planned = PlanRequest(source=SCAN, candidates="9", n_angles=1, device=device)
    replayed = ReplayRequest(scan=SCAN, out=Path("r.h5"), settings=ReplaySettings(), device=device)
    return [made, planned.command, replayed.command]


@pytest.mark.parametrize(("device", "end"), [("auto", "--seed 0"), ("cpu", "--seed 0 --device cpu")])
def test_a_device_that_was_named_is_named_again(device: str, end: str) -> None:
    assert all(command.endswith(end) for command in commands(device))
