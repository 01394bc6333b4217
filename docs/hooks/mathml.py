"""Formulas as MathML, made while the site is built: a reader's browser loads no script and no fonts for them."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.DOTALL)


def on_page_content(content: str, **_page: Any) -> str:
    r"""Replace what arithmatex left: TeX between \( and \), or on lines of its own between \[ and \]."""
    return _FORMULA.sub(lambda found: _mathml(found[3], own_line=found[2] == "["), content)


def _mathml(tex: str, *, own_line: bool) -> str:
    formula: str = convert(html.unescape(tex).strip(), display="block" if own_line else "inline")
    return f'<div class="formula">{formula}</div>' if own_line else formula
