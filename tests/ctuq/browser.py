"""What the tests in a browser share: headless Chromium, and the report of a small reconstruction opened in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@dataclass
class Opened:
    """A page, and all that it said and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; in a container it cannot have a sandbox of its own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, *, width: int = 1280, dark: bool = False, touch: bool = False) -> Opened:
    """The page once everything on it is drawn."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=touch, is_mobile=touch
    )
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    return found


def requested(found: Opened) -> list[str]:
    """Addresses that the page asked for, beside what it holds itself."""
    return [url for url in found.requests if not url.startswith(("data:", "blob:"))]
