"""Figures as inline SVG that takes its colours from the page, so that they follow light and dark."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure

from ctuq.figures import Inks

# matplotlib knows no CSS variables: these colours, used nowhere else, are exchanged for them in the finished SVG.
PAGE_INKS = Inks(text="#010203", rule="#010204", first="#010205", second="#010206")
_VARIABLES = {"#010203": "var(--ink)", "#010204": "var(--rule)", "#010205": "var(--first)", "#010206": "var(--second)"}


def svg_element(figure: Figure, name: str) -> str:
    """The figure as an SVG element for inclusion in a page: text stays text, ids are its own, colours the page's."""
    # The format's options live in matplotlib's settings only; this puts them back at once.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ctuq"}):
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg
