"""What a view is worth: every criterion with its name, the unit of its scores, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ctuq.config import DesignConfig
from design import (
    DIAGONAL_INFORMATION_GAIN,
    EXPECTED_SQUARED_ERROR,
    INFORMATION_GAIN,
    REGION_GAIN,
    Criterion,
)


@dataclass(frozen=True)
class NamedCriterion:
    """A criterion as people are told of it.

    Args:
        criterion: see `design.acquisition`.
        unit: of its scores.
        meaning: what the score of a view says.
    """

    criterion: Criterion
    unit: str
    meaning: str


CRITERIA: Final[Mapping[str, NamedCriterion]] = {
    "eig": NamedCriterion(
        INFORMATION_GAIN,
        "nat",
        "how much a view is expected to tell about the image, beyond what is known (expected information gain)",
    ),
    "diagonal-eig": NamedCriterion(
        DIAGONAL_INFORMATION_GAIN,
        "nat",
        "how much a view is expected to tell, its rays taken one by one (expected information gain)",
    ),
    "ese": NamedCriterion(
        EXPECTED_SQUARED_ERROR,
        "noise variances",
        "how far off the present image is expected to be in a view, against its noise (expected squared error)",
    ),
    "roi": NamedCriterion(
        REGION_GAIN,
        "1/mm2",
        "how far a view is expected to shrink the squared error bars in the region, summed over it",
    ),
}
"""By the name that commands and Python know."""

_PER_EXPOSURE = " per exposure"
_IN_WORDS: Final[Mapping[str, str]] = {"1/mm2": "1/mm²", "nat": "nats"}


def score_unit(criterion: str, settings: DesignConfig) -> str:
    """Of the scores as files have them; where turning has a price, they are per exposure, turning there included."""
    return CRITERIA[criterion].unit + (_PER_EXPOSURE if settings.turning_cost else "")


def unit_in_words(unit: str) -> str:
    """As people are shown it, where that differs from the file."""
    plain = unit.removesuffix(_PER_EXPOSURE)
    return _IN_WORDS.get(plain, plain) + unit[len(plain) :]
