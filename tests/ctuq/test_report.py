"""The report: one file, no network, everything in it, nothing from outside taken for HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

from ctuq.report import render_report
from ctuq.report_figures import averaged_down, relative_deviation, report_figures
from ctuq.result_file import read_result
from tests.ctuq.fake_results import fake_calibration, fake_provenance, fake_reconstruction


class Page(HTMLParser):
    """Tags with their attributes, and the text outside styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    html = fake_reconstruction().report(tmp_path / "r.html").read_text("utf-8")
    page = Page(html)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    loaded = [value or "" for _, attrs in page.tags for name, value in attrs.items() if name in loading]
    assert loaded
    assert all(value.startswith(("data:", "#")) for value in loaded)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_everything_is_on_the_page() -> None:
    made = fake_reconstruction(provenance=fake_provenance(notes=("first warning", "second warning")))
    page = Page(render_report(made))
    assert sum(tag == "svg" for tag, _ in page.tags) == 9  # three maps, three samples, three charts
    assert sum(tag == "image" for tag, _ in page.tags) >= 6
    for words in (
        "Error bars calibrated. Of 1,260 held-out rays",
        "believe these error bars.",
        "chi-square per ray from 0.8 to 1.25, and at least 90 % of the held-out rays",
        "first warning second warning",
        "ctuq reconstruct disc.h5 --out disc-again.h5 --seed 7",
        "ab" * 32,
        '"tv_weight": 0.0001',
        "ctuq 0.1.0, torch 2.13.0",
        "50.0 s",
        "32 × 24 pixels of 0.6 mm",
        "object: mean above half of the maximum 0.05 ± ",
        "chosen: step 700",
        "worst residual",
        "3°, 43°, 83°",
    ):
        assert words in page.text, words


def test_ids_are_unique_and_every_reference_has_its_target() -> None:
    html = render_report(fake_reconstruction())
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)


def test_error_bars_that_fail_are_warned_of() -> None:
    text = Page(render_report(fake_reconstruction(calibration=fake_calibration(spread=1.6)))).text
    assert "Error bars not calibrated." in text
    assert "do not believe these error bars" in text
    assert ": believe these error bars" not in text


def test_names_and_notes_from_outside_are_escaped() -> None:
    evil = '<script>alert("x")</script><img src=http://evil>'
    made = fake_reconstruction(provenance=fake_provenance(scan_name=evil, notes=(evil,)))
    html = render_report(made)
    assert "<script" not in html
    assert "<img" not in html
    assert evil in Page(html).text


def test_a_result_read_back_gives_the_same_report(tmp_path: Path) -> None:
    made = fake_reconstruction()
    assert render_report(read_result(made.save(tmp_path / "r.h5"))) == render_report(made)


@pytest.mark.parametrize("side", [256, 384, 1500])
def test_noisy_images_stay_below_four_megabytes(side: int) -> None:
    # Noise is what does not compress, and these sides are the largest that are shown as they are.
    image = torch.rand(side, side, generator=torch.Generator().manual_seed(0)) + 0.2
    assert len(render_report(fake_reconstruction(shape=(side, side), image=image)).encode()) < 4_000_000


def test_no_samples_and_no_noise_in_the_fit_are_drawn_too() -> None:
    made = fake_reconstruction(n_samples=0, calibration=fake_calibration(n_rays=0))
    text = Page(render_report(made)).text
    assert "Sample 1" not in text
    assert "nothing could be held against" in text


def test_matplotlib_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    report_figures(fake_reconstruction())
    assert dict(mpl.rcParams) == before


def test_deviation_is_relative_where_there_is_something_to_divide_by() -> None:
    relative = relative_deviation(np.array([[0.0, -1.0], [1.0, 2.0]]), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(relative, [[np.nan, np.nan], [50.0, 25.0]])


@pytest.mark.parametrize("shape", [(5, 7), (8, 8), (9, 16), (1, 31)])
def test_averaging_down_keeps_the_field_and_the_values(shape: tuple[int, int]) -> None:
    small = averaged_down(np.full(shape, 3.0), 8)
    assert max(small.shape) <= 8
    assert np.all(small == 3.0)
    np.testing.assert_array_equal(averaged_down(np.array([[1.0, 3.0], [5.0, 7.0]]), 1), [[4.0]])


def test_a_result_without_a_command_says_so_instead_of_an_empty_box() -> None:
    made = fake_reconstruction()
    page = render_report(replace(made, provenance=replace(made.provenance, command="")))
    assert "Made from Python" in page
    assert 'id="command"' not in page
