"""The pages show what the files of results say."""

from __future__ import annotations

import pytest

from tests.benchmarks.readme_tables import ROOT, filled, pages
from tests.benchmarks.sentences import sentences


@pytest.mark.parametrize("name", pages())
def test_tables_are_those_of_the_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert filled(text, pages()[name], name) == text


@pytest.mark.parametrize("name", sentences())
def test_figures_in_the_text_are_those_of_the_results(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert [sentence for sentence in sentences()[name] if sentence not in text] == []


def test_a_table_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"<!-- figures: real --> in there, got 0"):
        filled("no table", {"real": ["|"]}, "there")
