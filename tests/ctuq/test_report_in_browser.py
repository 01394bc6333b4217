"""The report in headless Chromium: it asks for nothing, and what it shows are the numbers of the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from ctuq.reconstruction import Reconstruction
from ctuq.region import RegionMean, region_by_samples
from ctuq.region_mask import region_mask
from ctuq.report_numbers import least_certain
from tests.ctuq.browser import Opened, needs_browser, opened, requested
from tests.ctuq.fake_planning import gaussian_reconstruction, scan_of
from tests.ctuq.fake_results import fake_reconstruction

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def made() -> Reconstruction:
    return fake_reconstruction(n_samples=5)


@pytest.fixture(scope="module")
def report(browser: Browser, made: Reconstruction, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opened(browser, made.report(tmp_path_factory.mktemp("report") / "r.html"))


def read(report: Opened, place: str) -> str:
    return report.page.inner_text(f"#{place}").replace("\N{MINUS SIGN}", "-")


def set_field(report: Opened, name: str, text: str) -> None:
    report.page.fill(f"#{name}", text)
    report.page.press(f"#{name}", "Enter")
    report.page.wait_for_timeout(200)


def centre_of(report: Opened, place: str, share: tuple[float, float] = (0.5, 0.5)) -> tuple[float, float]:
    """A point of a map on the screen, by its share of the axes' width and height."""
    box = report.page.locator(f"#{place} .nsewdrag").bounding_box()
    assert box is not None
    return box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"]


def test_the_page_asks_for_nothing_and_complains_of_nothing(report: Opened) -> None:
    assert report.complaints == []
    assert requested(report) == [report.page.url]


def test_pointing_at_a_pixel_reads_the_numbers_of_the_file(report: Opened, made: Reconstruction) -> None:
    report.page.locator("#image").scroll_into_view_if_needed()
    report.page.mouse.move(*centre_of(report, "image", (0.3, 0.4)))
    report.page.wait_for_timeout(300)
    text = read(report, "pixel")
    value, std, x, y = (float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", re.sub(r"\(\d[\d.]* %\)|1/mm", "", text)))
    row = int(torch.argmin((made.plane.y_mm() - y).abs()))
    col = int(torch.argmin((made.plane.x_mm() - x).abs()))
    assert (row, col) == (int(0.4 * 24), int(0.3 * 32))
    assert std == pytest.approx(float(made.std[row, col]), rel=0.05)
    assert value == pytest.approx(float(made.image[row, col]), abs=0.1 * std)
    assert f"{made.plane.x_mm()[col]:.2f}" in text
    # The other views point at the same pixel, with a cross; their values stand beside them, and nothing over them.
    assert crossed(report) == ["image", "deviation", "relative", "sample"]
    assert report.page.locator(".hoverlayer .hovertext").count() == 0
    assert float(read(report, "image-value").split()[0]) == pytest.approx(float(made.image[row, col]), abs=1e-5)
    assert float(read(report, "deviation-value").split()[1]) == pytest.approx(std, rel=0.05)
    assert float(read(report, "sample-value").split()[0]) == pytest.approx(
        float(made.samples[0, row, col]), abs=0.1 * std
    )


def crossed(report: Opened) -> list[str]:
    """Maps on which lines cross at what is pointed at."""
    found: list[str] = report.page.evaluate(
        "[...document.querySelectorAll('.map')].filter((m) => m.querySelector('.spikeline')).map((m) => m.id)"
    )
    return found


def test_arrow_keys_walk_over_the_pixels(report: Opened, made: Reconstruction) -> None:
    report.page.mouse.move(0, 0)
    report.page.focus("#deviation")
    before = read(report, "pixel")
    report.page.keyboard.press("ArrowRight")
    report.page.keyboard.press("Shift+ArrowDown")
    assert re.search(r"at \(-?[\d.]+, -?[\d.]+\) mm", read(report, "pixel"))
    assert read(report, "pixel") != before


def test_a_profile_holds_the_pixels_of_the_file_with_their_95_percent_band(
    report: Opened, made: Reconstruction
) -> None:
    x, y = made.plane.x_mm(), made.plane.y_mm()
    set_field(report, "line", f"{x[0]},{y[9]},{x[-1]},{y[9]}")
    low, high, image = report.page.evaluate("document.getElementById('profile').data.slice(0, 3).map((t) => [...t.y])")
    row, std = made.image[9], made.std[9]
    torch.testing.assert_close(torch.tensor(image), row, atol=2e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(low), row - 1.96 * std, atol=5e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(high), row + 1.96 * std, atol=5e-6, rtol=0)


@pytest.mark.parametrize(
    "text", ["disc:0,0,4", "disc:2,-1,2.2", "rectangle:-5,-3,4,2.5", "rectangle:-0.2,-0.2,0.4,0.4"]
)
def test_a_region_is_what_the_samples_say_of_it(report: Opened, made: Reconstruction, text: str) -> None:
    set_field(report, "region", text)
    expected = region_by_samples(made.image, made.samples, region_mask(text, made.plane))
    n_pixels = int(region_mask(text, made.plane).sum())
    found, n_found = told_region(read(report, "region-mean"))
    assert n_found == n_pixels
    assert found.std == pytest.approx(expected.std, rel=0.08)  # two digits, and samples in steps
    assert found.mean == pytest.approx(expected.mean, abs=0.08 * expected.std)
    assert "by 5 samples, which know it to 32 %" in read(report, "region-mean")


def told_region(text: str) -> tuple[RegionMean, int]:
    match = re.match(r"(-?[\d.]+) ± ([\d.]+) 1/mm over ([\d,]+) pixels?", text)
    assert match, text
    return RegionMean(float(match[1]), float(match[2]), 0.0), int(match[3].replace(",", ""))


def test_no_region_is_said_so(report: Opened) -> None:
    for text, words in (("ring:1,2,3", "expected disc:"), ("disc:0,0", "expected disc:"), ("disc:99,0,1", "no pixel")):
        set_field(report, "region", text)
        assert words in read(report, "region-mean")
        assert words in read(report, "region-said")
    set_field(report, "region", "")
    assert report.page.get_attribute("#region", "aria-invalid") == "false"


@pytest.mark.parametrize("text", ["-5,1,5,1", "-5, 1 to 5, 1", "-5;1;5;1", "(-5 1) to (5 1)"])
def test_a_line_is_read_however_it_is_written(report: Opened, text: str) -> None:
    set_field(report, "line", text)
    assert report.page.get_attribute("#line", "aria-invalid") == "false"
    assert "along 10.0 mm" in read(report, "line-said")


@pytest.mark.parametrize(("text", "words"), [("rubbish", "expected four numbers"), ("90,90,95,95", "no pixel")])
def test_no_line_is_said_so_and_leaves_no_profile_behind(report: Opened, text: str, words: str) -> None:
    set_field(report, "line", "-5,1,5,1")
    assert report.page.evaluate("document.getElementById('profile').data[2].x.length") > 0
    set_field(report, "line", text)
    assert words in read(report, "line-said")
    assert report.page.get_attribute("#line", "aria-invalid") == "true"
    assert report.page.evaluate("document.getElementById('profile').data[2].x.length") == 0


def test_the_least_certain_square_is_drawn_and_shown(report: Opened, made: Reconstruction) -> None:
    worst = least_certain(made)
    report.page.click("#least-certain")
    report.page.wait_for_timeout(300)
    (square, *_), (left, right) = report.page.evaluate(
        "(({ shapes, xaxis }) => [shapes, xaxis.range])(document.getElementById('deviation').layout)"
    )
    assert (square["x0"] + square["x1"]) / 2 == pytest.approx(worst.x_mm)
    assert square["y1"] - square["y0"] == pytest.approx(worst.side_mm)
    assert tags(report)["1"] == [pytest.approx(square["x1"]), pytest.approx(square["y1"])]
    assert left < square["x0"] < square["x1"] < right
    report.page.click("#whole")


def test_where_there_is_too_little_attenuation_no_share_is_told(report: Opened) -> None:
    report.page.locator("#relative").scroll_into_view_if_needed()
    report.page.mouse.move(*centre_of(report, "relative", (0.02, 0.02)))
    report.page.wait_for_timeout(300)
    assert read(report, "relative-value") == "too little attenuation"
    assert "NaN" not in read(report, "pixel")


@pytest.mark.parametrize("mode", ["line", "disc", "rectangle"])
def test_what_is_drawn_becomes_text(report: Opened, mode: str) -> None:
    report.page.check(f"input[value={mode}]")
    report.page.locator("#deviation").scroll_into_view_if_needed()
    report.page.wait_for_timeout(300)
    report.page.mouse.move(*centre_of(report, "deviation", (0.25, 0.25)))
    report.page.mouse.down()
    report.page.mouse.move(*centre_of(report, "deviation", (0.5, 0.5)), steps=4)
    report.page.mouse.move(*centre_of(report, "deviation", (0.75, 0.5)), steps=4)
    report.page.mouse.up()
    report.page.wait_for_timeout(300)
    text = report.page.input_value("#line" if mode == "line" else "#region")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", text)]
    # The image is 19.2 mm by 14.4 mm: from a quarter of both to three quarters across and half down.
    expected = {"line": [-4.8, 3.6, 4.8, 0.0], "rectangle": [-4.8, 0.0, 4.8, 3.6], "disc": None}[mode]
    if expected is not None:
        assert numbers == pytest.approx(expected, abs=0.15)
    assert text.startswith("disc:") or mode != "disc"
    report.page.check("input[value=look]")


def tags(report: Opened) -> dict[str, list[float]]:
    """Places of the numbers on the maps, in mm."""
    found = report.page.evaluate("document.getElementById('image').layout.annotations.map((a) => [a.text, a.x, a.y])")
    return {text: place for text, *place in found}


def test_marks_are_white_on_black_and_numbered_as_the_text_has_them(report: Opened) -> None:
    set_field(report, "line", "-5,1 to 5,1")
    set_field(report, "region", "disc:2,-1,3")
    assert tags(report)["3"] == [-5, 1]
    assert tags(report)["2"] == [2, 2]
    under, over = report.page.evaluate(
        "document.getElementById('relative').layout.shapes.filter((s) => s.type === 'circle').map((s) => s.line)"
    )
    assert (under["color"], over["color"]) == ("#000000", "#ffffff")
    assert under["width"] > over["width"] + 1
    assert report.page.inner_text("label[for=line] .tag") == "3"
    assert report.page.inner_text("label[for=region] .tag") == "2"
    colour = report.page.evaluate("getComputedStyle(document.querySelector('#image .annotation text')).fill")
    assert colour == "rgb(255, 255, 255)"
    set_field(report, "region", "")
    assert sorted(tags(report)) == ["1", "3"]


def test_a_sample_is_shown_without_the_image(report: Opened, made: Reconstruction) -> None:
    map_and_title = "({ z, colorbar }) => [z.map((row) => [...row]), colorbar.title.text]"
    shown = f"({map_and_title})(document.getElementById('sample').data[0])"
    report.page.focus("#sample-number")
    report.page.keyboard.press("End")
    report.page.check("input[value=difference]")
    report.page.wait_for_timeout(300)
    difference, title = report.page.evaluate(shown)
    gap = (torch.tensor(difference) - (made.samples[4] - made.image)).abs() / made.std
    assert float(gap.max()) < 0.07
    assert title == "sample − image (1/mm)"
    report.page.focus("#sample")
    report.page.keyboard.press("ArrowRight")
    assert read(report, "sample-value").startswith("minus the image: ")
    report.page.check("input[value=sample][name=sample-as]")
    report.page.focus("#sample-number")
    report.page.keyboard.press("Home")
    report.page.wait_for_timeout(300)
    image, title = report.page.evaluate(shown)
    assert float(((torch.tensor(image) - made.samples[0]).abs() / made.std).max()) < 0.07
    assert title == "attenuation (1/mm)"


def visible_maps(report: Opened) -> list[str]:
    return [
        name for name in ("image", "deviation", "relative", "sample") if report.page.is_visible(f".view:has(#{name})")
    ]


def test_one_map_is_shown_at_a_time_or_all(report: Opened) -> None:
    assert len(visible_maps(report)) == 4
    before = report.page.locator("#relative").bounding_box()
    report.page.check("input[name=view][value=relative]")
    report.page.wait_for_timeout(300)
    assert visible_maps(report) == ["relative"]
    after = report.page.locator("#relative .main-svg").first.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"]
    report.page.click("#least-certain")  # brings the map that it is shown on
    report.page.wait_for_timeout(300)
    assert visible_maps(report) == ["deviation"]
    report.page.emulate_media(media="print")
    assert len(visible_maps(report)) == 4
    report.page.emulate_media(media="screen")
    report.page.check("input[name=view][value=all]")
    report.page.wait_for_timeout(300)
    assert len(visible_maps(report)) == 4
    report.page.click("#whole")


def test_samples_are_flipped_through(report: Opened, made: Reconstruction) -> None:
    report.page.focus("#sample-number")
    report.page.keyboard.press("ArrowRight")
    report.page.wait_for_timeout(300)
    assert read(report, "sample-label") == "2 of 5"
    shown = report.page.evaluate("document.getElementById('sample').data[0].z.map((row) => [...row])")
    gap = (torch.tensor(shown) - made.samples[1]).abs() / made.std
    assert float(gap.max()) < 0.07  # half a step of an eighth of a deviation


def test_enlarging_one_view_enlarges_all(report: Opened) -> None:
    report.page.evaluate("Plotly.relayout('image', {'xaxis.range[0]': -3, 'xaxis.range[1]': 3})")
    report.page.wait_for_timeout(300)
    ranges = report.page.evaluate(
        "['image', 'deviation', 'sample'].map((n) => document.getElementById(n).layout.xaxis.range)"
    )
    assert ranges[0] == ranges[1] == ranges[2]
    report.page.locator("#sample").scroll_into_view_if_needed()
    report.page.mouse.dblclick(*centre_of(report, "sample"))
    report.page.wait_for_timeout(500)
    assert report.page.evaluate("document.getElementById('image').layout.xaxis.range") == pytest.approx([-9.6, 9.6])


def test_a_finger_reads_a_pixel(browser: Browser, tmp_path: Path, made: Reconstruction) -> None:
    found = opened(browser, made.report(tmp_path / "r.html"), width=400, touch=True)
    assert visible_maps(found) == ["image"]  # four in a column are long
    found.page.locator("#image").scroll_into_view_if_needed()
    found.page.touchscreen.tap(*centre_of(found, "image"))
    found.page.wait_for_selector("#pixel:has-text('± ')")
    assert found.complaints == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, tmp_path: Path, made: Reconstruction, width: int, dark: bool
) -> None:
    found = opened(browser, made.report(tmp_path / "r.html"), width=width, dark=dark)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.complaints == []


def test_a_result_without_samples_or_rays_is_drawn_too(browser: Browser, tmp_path: Path) -> None:
    found = opened(browser, fake_reconstruction(n_samples=0).report(tmp_path / "r.html"))
    assert found.complaints == []
    assert "draw a disc" in read(found, "region-mean")
    set_field(found, "region", "disc:0,0,4")
    assert "no samples to tell its deviation by" in read(found, "region-mean")
    assert found.page.locator("#sinogram").count() == 0


def test_the_sinogram_is_that_of_the_scan(browser: Browser, tmp_path: Path) -> None:
    scan = scan_of(range(0, 180, 15))
    found = opened(browser, gaussian_reconstruction(scan).report(tmp_path / "r.html"))
    assert found.complaints == []
    shown = found.page.evaluate("document.getElementById('sinogram').data[0].z.map((row) => [...row])")
    step = float(scan.sinogram.max() - scan.sinogram.min()) / 254
    torch.testing.assert_close(torch.tensor(shown), scan.sinogram.float(), atol=step, rtol=0)
    found.page.locator("#residual").scroll_into_view_if_needed()
    found.page.mouse.move(*centre_of(found, "residual"))
    found.page.wait_for_timeout(300)
    value, told, degrees = re.findall(r"-?[\d.]+", read(found, "sinogram-value"))
    assert float(value) == pytest.approx(
        float(scan.sinogram[round(float(degrees) / 15), int(told)]), abs=step + 0.005 * float(value)
    )
    assert abs(int(told) - scan.sinogram.shape[1] / 2) <= 1
    assert float(degrees) in (75, 90)
    assert "deviations at detector pixel" in read(found, "residual-value")
    assert found.page.locator(".hoverlayer .hovertext").count() == 0
