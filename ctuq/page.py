"""Pages: single HTML files that need no network, with scripts of their own and charts by plotly."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.environment import TemplateStream
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ctuq.amount import amount
from ctuq.page_numbers import packed

_CHART_SCRIPTS = ("unpack.js", "charts.js", "page.js")


def chart_page(template: str, *, scripts: Sequence[str], numbers: object, content: Mapping[str, Any]) -> str:
    """A page with charts, as one string of HTML; every word that came from outside is escaped.

    Args:
        template: extends `charts.html.j2`.
        scripts: of the folder of templates, the last of which calls `startPage`.
        numbers: what the scripts draw, in JSON's types.
        content: what the template says, by name.
    """
    code = _code((*_CHART_SCRIPTS, *scripts))
    charts = {"numbers": numbers, "packed_plotly": _packed_plotly(), "scripts": (code, get_plotlyjs()), "code": code}
    return _environment().get_template(template).render({**content, **charts})


def streamed_page(template: str, *, scripts: Sequence[str], content: Mapping[str, Any]) -> TemplateStream:
    """A page without charts, a piece at a time, so that a long one is never in memory as a whole.

    Args:
        template: extends `page.html.j2`.
        scripts: of the folder of templates.
        content: what the template says, by name.
    """
    code = _code(scripts)
    return _environment().get_template(template).stream({**content, "scripts": (code,), "code": code})


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ctuq"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["sha256"] = _hash
    environment.filters["amount"] = amount
    return environment


def _code(scripts: Sequence[str]) -> Markup:
    # Our own scripts, one behind the other; nothing in them came from outside.
    folder = files("ctuq") / "templates"
    return Markup("\n".join((folder / name).read_text(encoding="utf-8") for name in scripts))  # noqa: S704


@cache
def _packed_plotly() -> str:
    return packed(get_plotlyjs().encode("utf-8"))


def _hash(script: str) -> str:
    """As a content security policy names the script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
