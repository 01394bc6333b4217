"""The page of an acquisition under way: what to measure now, what was measured, and how the error bars shrink."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctuq.acquisition_state import AcquisitionFolder, AcquisitionSettings, AcquisitionState
from ctuq.amount import amount
from ctuq.criteria import CRITERIA, score_unit, unit_in_words
from ctuq.library_versions import library_versions
from ctuq.page import chart_page
from ctuq.rays import shown_degrees
from ctuq.whole_file import write_text_whole
from design import Suggestion
from design.planner_state import MeasuredView

_ORIGINS = {"pilot": "measured before", "suggested": "measured as suggested", "unplanned": "measured, not suggested"}


@dataclass(frozen=True)
class View:
    """A line of the table.

    Args:
        degrees: where.
        standing: in words.
        score: what it promised when it was suggested; None where nobody suggested it.
    """

    degrees: float
    standing: str
    score: float | None


def write_acquisition_page(folder: AcquisitionFolder) -> Path:
    """Write acquisition.html into the folder, of its state now.

    Returns:
        Its path.

    Raises:
        InputError: no acquisition here.
    """
    with folder.locked():
        page = render_acquisition(folder.path, *folder.read())
        return write_text_whole(page, folder.path / "acquisition.html")


def render_acquisition(folder: Path, settings: AcquisitionSettings, state: AcquisitionState) -> str:
    """The page as one string of HTML; every name that came from outside is escaped."""
    views = views_of(state)
    unit = unit_in_words(score_unit(settings.criterion, settings.config.design))
    return chart_page(
        "acquisition.html.j2",
        scripts=("circle.js", "promises.js", "gains.js", "copying.js", "acquisition.js"),
        numbers=acquisition_numbers(settings, state),
        content={
            "name": settings.name,
            "commands": {verb: _typed(verb, folder) for verb in ("next", "tell")},
            "when": datetime.now(UTC),
            "open": [shown_degrees(suggestion.angle_rad) for suggestion in state.planner.open],
            "n_measured": len(state.planner.measured),
            "n_candidates": len(state.planner.candidate_ids),
            "first": state.curve[0] if state.curve else None,
            "last": state.curve[-1] if state.curve else None,
            "promised": (state.promised or {}).get(str(len(state.planner.measured) + len(state.planner.open))),
            "stopped": state.stopped,
            "enough": state.enough,
            "views": views,
            "unit": unit,
            "criterion": CRITERIA[settings.criterion].meaning,
            "settings": settings,
            "versions": library_versions(),
            "config": json.dumps(settings.config.as_json(), indent=2, ensure_ascii=False),
        },
    )


def views_of(state: AcquisitionState) -> list[View]:
    """What is open first, in the order to measure; then what was measured, by angle; then what failed since.

    A view that failed and was tried again is listed once, its failures as history.
    """
    planner = state.planner
    scores = {suggestion.id: suggestion.score for suggestion in planner.suggestions}

    def view(one: Suggestion | MeasuredView, standing: str) -> View:
        failures = planner.failures.get(one.id, 0)
        history = f" (failed {amount(failures, 'time')} before)" if failures else ""
        return View(shown_degrees(one.angle_rad), standing + history, scores.get(one.id))

    return [
        *(view(one, "to measure now") for one in planner.open),
        *(view(one, _ORIGINS[one.origin]) for one in planner.measured),
        *(
            View(shown_degrees(one.angle_rad), f"failed ({amount(one.failures, 'time')})", one.score)
            for one in planner.failed
        ),
    ]


def acquisition_numbers(settings: AcquisitionSettings, state: AcquisitionState) -> dict[str, Any]:
    """What the page draws: degrees, and deviations in 1/mm by number of views."""
    planner = state.planner
    unit = unit_in_words(score_unit(settings.criterion, settings.config.design))
    return {
        "unit": unit,
        "measured": [shown_degrees(view.angle_rad) for view in planner.measured],
        "failed": [shown_degrees(suggestion.angle_rad) for suggestion in planner.failed],
        "chosen": {
            "degrees": [shown_degrees(suggestion.angle_rad) for suggestion in planner.open],
            "score": [suggestion.score for suggestion in planner.open],
        },
        "promised": sorted((int(n_views), std) for n_views, std in (state.promised or {}).items()),
        "realised": sorted((point.n_views, point.region_std) for point in state.curve),
    }


def _typed(verb: str, folder: Path) -> str:
    """The command, quoted for a shell, beside the folder."""
    return shlex.join(["ctuq", "acquire", verb, folder.resolve().name, *(["VIEWS"] if verb == "tell" else [])])
