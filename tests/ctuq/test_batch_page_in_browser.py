"""The summary of a batch in headless Chromium: sorted by any column, filtered, 2,000 scans, whole at every moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from ctuq.batch_database import copy_in_memory
from ctuq.batch_job import Slice, SliceResult
from ctuq.batch_manifest import Manifest
from ctuq.batch_page import write_batch_page
from ctuq.batch_work import thumbnail
from tests.ctuq.browser import Opened, needs_browser, opened, requested
from tests.ctuq.fake_results import fake_reconstruction

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser
N_SCANS = 2000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the middle of a batch: one scan in ten failed, the last two are running and pending."""
    folder = tmp_path_factory.mktemp("batch")
    manifest = Manifest(folder, copy_in_memory(folder))
    common = {"entry": "", "pitch_mm": 1, "key": "k"}
    slices = [
        Slice(scan=f"scan_{n}", row=0, n_rows=1, shown=True, source=Path(f"/scans/scan_{n}.h5"), **common)  # type: ignore[arg-type]
        for n in range(N_SCANS)
    ]
    with manifest.exclusive():
        for one in slices:
            manifest.put(one, "pending")
    noise = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    picture = thumbnail(fake_reconstruction(shape=(64, 64), image=noise))
    manifest.want([tuple(slices[:-1]), slices[-1:]])
    manifest.claim("me", lambda _: True)
    for n, one in enumerate(slices[:-2]):
        found = SliceResult(row=0, reason=f"no. {n} is damaged")
        if n % 10:
            std = 1e-3 * (1 + n * 7919 % 101)
            found = SliceResult(row=0, seconds=n, median_std=std, chi_square=2, calibrated=n % 3 > 0, thumbnail=picture)
        manifest.settle("me", one.scan, [found])
    page = write_batch_page(manifest)
    manifest.close()
    return page


@pytest.fixture(scope="module")
def page(browser: Browser, written: Path) -> Opened:
    return opened(browser, written)


def column(page: Opened, number: int) -> list[str]:
    """The words of a column, of the lines that are shown."""
    script = (
        "(n) => [...document.querySelectorAll('#scans tbody tr:not([hidden])')].map((r) => r.cells[n].dataset.value)"
    )
    found: list[str] = page.page.evaluate(script, number)
    return found


def test_two_thousand_scans_are_one_page_below_eight_megabytes(page: Opened, written: Path) -> None:
    assert written.stat().st_size < 8e6
    assert page.complaints == []
    assert requested(page) == [page.page.url]
    assert page.page.locator("#scans tbody tr").count() == N_SCANS
    assert column(page, 1)[:3] == ["scan_0", "scan_1", "scan_2"]
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.page.inner_text("#shown") == "2000 of 2000 scans"


def test_any_column_sorts_by_mouse_and_keyboard_and_what_has_no_number_stays_below(page: Opened) -> None:
    heads = page.page.locator("#scans th button")
    assert heads.count() == 7
    heads.nth(2).click()
    found = column(page, 3)
    numbers = [float(value) for value in found if value]
    assert numbers == sorted(numbers)
    assert len(numbers) == 1798
    assert found[len(numbers) :] == [""] * (N_SCANS - len(numbers))
    heads.nth(2).focus()
    page.page.keyboard.press("Enter")
    assert [float(value) for value in column(page, 3) if value] == sorted(numbers, reverse=True)
    assert page.page.locator("#scans th[aria-sort=descending]").count() == 1
    heads.nth(0).click()
    page.page.keyboard.press("Space")
    assert column(page, 1)[:2] == ["scan_1999", "scan_1998"]
    heads.nth(6).click()
    assert column(page, 7)[:2] == ["no. 0 is damaged", "no. 10 is damaged"]


def test_lines_are_filtered_by_status_doubt_and_name(page: Opened) -> None:
    page.page.check("input[value=failed]")
    assert set(column(page, 2)) == {"failed"}
    assert page.page.inner_text("#shown") == "200 of 2000 scans"
    page.page.check("input[value=running]")
    assert column(page, 1) == ["scan_1998"]
    page.page.check("input[value=all]")
    page.page.check("#doubtful")
    assert set(column(page, 5)) == {"not calibrated"}
    page.page.fill("#wanted", "CAN_199")
    assert sorted(column(page, 1)) == ["scan_1992", "scan_1995"]
    page.page.uncheck("#doubtful")
    page.page.fill("#wanted", "")
    assert len(column(page, 1)) == N_SCANS


def test_links_lead_to_report_picture_and_result(page: Opened) -> None:
    row = page.page.locator("#scans tbody tr", has=page.page.locator("td[data-value='scan_7']"))
    links = {link.inner_text(): link.get_attribute("href") for link in row.locator("a").all()}
    assert links == {"report": "scan_7.html", "picture": "scan_7.png"}  # there is no file of the result
    assert row.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 64


def test_a_batch_under_way_says_so(page: Opened) -> None:
    words = page.page.inner_text("#counts")
    assert "1,798 of 2,000 slices done, 200 failed, 1 running, 1 pending." in words
    assert "the same command goes on where it ended" in words


def test_a_narrow_screen_scrolls_the_table_alone(browser: Browser, written: Path) -> None:
    found = opened(browser, written, width=400, dark=True)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert found.complaints == []
