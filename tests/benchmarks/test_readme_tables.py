"""The pages show what the files of results say."""

from __future__ import annotations

import pytest

from tests.benchmarks.readme_tables import ROOT, filled, pages


@pytest.mark.parametrize("name", pages())
def test_tables_are_those_of_the_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert filled(text, pages()[name], name) == text


def test_a_table_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"<!-- figures: real --> in there, got 0"):
        filled("no table", {"real": ["|"]}, "there")
