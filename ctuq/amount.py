"""Numbers of things in words: one view, but two views."""

from __future__ import annotations


def amount(number: int, thing: str) -> str:
    """The number with its thing, "1 view" or "1,200 views"; every thing here takes an s."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
