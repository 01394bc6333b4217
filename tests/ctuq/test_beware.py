from __future__ import annotations

import math

import pytest

from ctuq.beware import beware
from dip import Learned, PosteriorSettings

GOOD = Learned({"noise": 1.0}, 0.0, 12, converged=True)


def warned(
    *,
    learned: Learned = GOOD,
    residual: float = 0.01,
    linearisation_error: float | None = None,
    refit_misfit: float = 1.05,
    temperature: float = 1,
) -> tuple[str, ...]:
    settings = PosteriorSettings(image_temperature=temperature)
    return beware(
        learned,
        residual,
        "cg",
        settings,
        linearisation_error=linearisation_error,
        refit_misfit=refit_misfit,
        judging_draws=0,
    )


@pytest.mark.parametrize("usual", [None, 0.0, 0.7, 1.02, 1.99])
def test_nothing_is_said_of_what_is_usual(usual: float | None) -> None:
    assert warned(linearisation_error=usual) == ()


def test_a_linear_model_that_moves_further_than_its_network_is_named_with_what_to_try() -> None:
    (note,) = warned(linearisation_error=2.34)
    assert "by 2.3 times what the network changes it" in note
    assert "try another prior.kind" in note


def test_what_is_no_number_is_never_good() -> None:
    assert len(warned(linearisation_error=math.nan, residual=math.nan, refit_misfit=math.nan)) == 3


def test_a_refit_that_did_not_settle_is_named_with_what_to_try() -> None:
    (note,) = warned(refit_misfit=1.62)
    assert "left 1.6 times as much" in note
    assert "fit.refit_steps" in note


def test_the_image_comes_first_then_samples_and_the_search_last() -> None:
    unfinished = Learned({"noise": 1.0}, 0.0, 40, converged=False)
    notes = warned(learned=unfinished, residual=3.0, linearisation_error=2.1, refit_misfit=2.0, temperature=0.5)
    parts = (
        "times as much of the fitted ones",
        "posterior.tolerance=0.05, got 3",
        "image_temperature=0.5",
        "linear model misses",
        "after 40 evaluations",
    )
    assert [part in note for part, note in zip(parts, notes, strict=True)] == [True] * 5
