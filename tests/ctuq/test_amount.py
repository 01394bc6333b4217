"""One view, but two views."""

from __future__ import annotations

import pytest

from ctuq.amount import amount


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 test rays"), (1, "1 test ray"), (2, "2 test rays"), (1260, "1,260 test rays")]
)
def test_only_one_goes_without_an_s(number: int, words: str) -> None:
    assert amount(number, "test ray") == words
