"""Formulas of the documentation, made while it is built."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml", reason="the extra docs is not installed")


def on_page_content() -> Callable[[str], str]:
    spec = importlib.util.spec_from_file_location("mathml", Path(__file__).parents[2] / "docs/hooks/mathml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], str] = module.on_page_content
    return found


def test_formulas_become_mathml_and_nothing_else_changes() -> None:
    inline = r'<p>with <span class="arithmatex">\(a &lt; b_1\)</span> in it</p>'
    own_line = r'<div class="arithmatex">\[' + "\n" + r"\frac{1}{2}" + "\n" + r"\]</div>"
    page = on_page_content()(inline + own_line + r"<code>\(x\)</code>")
    assert page.startswith('<p>with <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
    assert "<mo>&#x0003C;</mo>" in page
    assert '<div class="formula"><math' in page
    assert 'display="block"' in page
    assert "<mfrac>" in page
    assert page.endswith(r"<code>\(x\)</code>")
    assert "arithmatex" not in page
