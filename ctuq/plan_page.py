"""The page of a plan: where to measure next, what each view promises, and where the plan came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctuq.amount import amount
from ctuq.angle_plan import AnglePlan
from ctuq.criteria import CRITERIA, unit_in_words
from ctuq.page import chart_page
from ctuq.page_numbers import finite
from ctuq.rays import degrees_of
from ctuq.whole_file import write_text_whole


@dataclass(frozen=True)
class PlannedView:
    """A line of the table.

    Args:
        rank: 1 is the most telling.
        degrees: where.
        score: given the views before it.
        region_std: deviation promised once it and those before it are measured, 1/mm.
        fall: of that, since before the plan, in %.
        turn: when to measure it for the least motor travel, from 1.
    """

    rank: int
    degrees: float
    score: float
    region_std: float
    fall: float
    turn: int


def write_plan_page(plan: AnglePlan, path: Path) -> Path:
    """Write the page, in place of an older one.

    Raises:
        InputError: its folder is missing or read-only.
    """
    return write_text_whole(render_plan(plan), path)


def render_plan(plan: AnglePlan) -> str:
    """The page as one string of HTML; every name and note that came from outside is escaped."""
    views = planned_views(plan)
    return chart_page(
        "plan.html.j2",
        scripts=("circle.js", "promises.js", "gains.js", "copying.js", "plan.js"),
        numbers=plan_numbers(plan),
        content={
            "plan": plan,
            "views": views,
            "turns": sorted(views, key=lambda view: view.turn),
            "unit": unit_in_words(plan.unit),
            "criterion": CRITERIA[plan.criterion].meaning,
            "over": f"the region of {amount(plan.region_pixels, 'pixel')}" if plan.region_pixels else "the image",
            "provenance": plan.provenance,
            "config": json.dumps(dict(plan.provenance.config), indent=2, ensure_ascii=False),
        },
    )


def planned_views(plan: AnglePlan) -> list[PlannedView]:
    """The lines of the table, the most telling view first."""
    columns = (
        range(1, len(plan.angles_rad) + 1),
        degrees_of(plan.angles_rad).tolist(),
        plan.scores.tolist(),
        plan.region_std[1:].tolist(),
        (100 * plan.promised_fall).tolist(),
        (plan.order + 1).tolist(),
    )
    return [PlannedView(*line) for line in zip(*columns, strict=True)]


def plan_numbers(plan: AnglePlan) -> dict[str, Any]:
    """What the page draws: degrees, scores, and deviations in 1/mm by number of views."""
    n_measured = len(plan.measured_rad)
    considered = plan.candidates_rad.argsort()
    return {
        "unit": unit_in_words(plan.unit),
        "measured": degrees_of(plan.measured_rad).tolist(),
        "chosen": {"degrees": degrees_of(plan.angles_rad).tolist(), "score": finite(plan.scores.tolist())},
        "candidates": {
            "degrees": degrees_of(plan.candidates_rad[considered]).tolist(),
            "score": finite(plan.candidate_scores[considered].tolist()),
        },
        "promised": list(enumerate(finite(plan.region_std.tolist()), start=n_measured)),
    }
