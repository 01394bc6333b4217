"""The report: one file, no network, everything in it, nothing from outside taken for HTML."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from ctuq import report_numbers
from ctuq.page_numbers import averaged, packed_levels
from ctuq.rays import Rays
from ctuq.report import render_report
from ctuq.report_numbers import least_certain, relative_deviation, scaled_residual
from ctuq.result_file import read_result
from operators import GaussianNoise, ParallelBeam, RayTransform
from tests.ctuq.fake_planning import gaussian_reconstruction, scan_of
from tests.ctuq.fake_results import fake_calibration, fake_provenance, fake_reconstruction


class Page(HTMLParser):
    """Tags with their attributes, scripts, and the text outside both styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
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
        if "script" in self._inside:
            self.scripts.append(data)
        elif "style" not in self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    html = fake_reconstruction().report(tmp_path / "r.html").read_text("utf-8")
    page = Page(html)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    loaded = [value or "" for _, attrs in page.tags for name, value in attrs.items() if name in loading]
    assert loaded == []
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_marks_are_numbered_in_the_order_of_the_page() -> None:
    numbers = re.findall(r'<span class="tag">(\d)</span>', render_report(fake_reconstruction()))
    assert list(dict.fromkeys(numbers)) == ["1", "2", "3"]


def test_the_image_is_called_what_it_is() -> None:
    text = Page(render_report(fake_reconstruction())).text
    assert "The network's, refitted to all rays; the posterior is centred on it." in text
    assert "posterior mean" not in text


def test_everything_is_on_the_page() -> None:
    made = fake_reconstruction(provenance=fake_provenance(notes=("first warning", "second warning")))
    page = Page(render_report(made))
    places = {attrs["id"] for tag, attrs in page.tags if "plot" in (attrs.get("class") or "")}
    assert places == {"image", "deviation", "relative", "sample", "profile", "coverage", "scores", "fit-curve"}
    for words in (
        "Error bars calibrated. Of 1,260 test rays",
        "believe these error bars for rays and averages. Single pixels at sharp edges can be off by more.",
        "chi-square per test ray from 0.8 to 1.25, and at least 90 % of the test rays",
        "first warning second warning",
        "ctuq reconstruct disc.h5 --out disc-again.h5 --seed 7",
        "ab" * 32,
        '"tv_weight": 0.0001',
        "ctuq 0.1.0, torch 2.13.0",
        "50.0 s",
        "total 61.5 s",
        "32 × 24 pixels of 0.6 mm",
        "object 0.050000 ± 0.000085 1/mm",
        "pixels above half of the maximum; ± is the deviation of that mean under the model (from 4 samples",
        "beam hardening and scatter are not in it",
        "training steps that the choosing rays chose 700",
        "Sample 1 of 4",
        "least certain 1 around (",
        "worst residual",
        "3°, 43°, 83°",
    ):
        assert words in page.text, words


def test_ids_are_unique_and_every_reference_has_its_target() -> None:
    html = render_report(fake_reconstruction())
    ids = [attrs["id"] for _, attrs in Page(html).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["for"] for _, attrs in Page(html).tags if "for" in attrs} <= set(ids)
    assert set(re.findall(r'byId\("([^"]+)"\)', html)) <= set(ids)


def test_only_the_scripts_of_the_page_may_run() -> None:
    page = Page(render_report(fake_reconstruction()))
    (policy,) = (attrs["content"] or "" for _, attrs in page.tags if "http-equiv" in attrs)
    (script,) = (text for text in page.scripts if "async function start" in text)
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, get_plotlyjs())]
    assert policy.split("script-src ")[1].split() == [f"'sha256-{digest}'" for digest in allowed]


def test_error_bars_that_fail_are_warned_of() -> None:
    text = Page(render_report(fake_reconstruction(calibration=fake_calibration(spread=1.6)))).text
    assert "Error bars not calibrated." in text
    assert "do not believe these error bars" in text
    assert ": believe these error bars" not in text
    assert "Single pixels at sharp edges" not in text


def test_the_edge_of_the_rule_is_explained_where_it_is_met() -> None:
    clear = replace(fake_calibration(), chi_square=1.0, coverage_95=0.95)
    assert "At the edge means" not in Page(render_report(fake_reconstruction(calibration=clear))).text
    near = replace(clear, coverage_95=0.905, coverage_error=0.02)
    assert "At the edge means" in Page(render_report(fake_reconstruction(calibration=near))).text


def test_names_and_notes_from_outside_are_escaped() -> None:
    evil = '<script>alert("x")</script><img src=http://evil>'
    made = fake_reconstruction(provenance=fake_provenance(scan_name=evil, notes=(evil,)))
    html = render_report(made)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert evil in Page(html).text


def test_a_result_read_back_gives_the_same_report(tmp_path: Path) -> None:
    made = fake_reconstruction()
    assert render_report(read_result(made.save(tmp_path / "r.h5"))) == render_report(made)


@pytest.mark.parametrize("side", [512, 1030])
def test_noisy_images_stay_below_eight_megabytes(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise is what does not compress, and 512 pixels are the most that are shown as they are.
    made = fake_reconstruction(shape=(side, side), n_samples=24)
    generator = torch.Generator().manual_seed(0)
    image, std = (torch.rand(side, side, generator=generator) + 0.2 for _ in range(2))
    samples = image + std * torch.randn(24, side, side, generator=generator)
    angles = np.linspace(0, np.pi, 512, endpoint=False)
    geometry = ParallelBeam(grid=made.plane, angles_rad=angles, n_detectors=512)
    rays = Rays(geometry, GaussianNoise(1e-4), torch.rand(512, 512, generator=generator))
    residual = torch.randn(512, 512, generator=generator).numpy()
    monkeypatch.setattr(report_numbers, "scaled_residual", lambda *_: residual)  # to project takes minutes
    noisy = replace(made, image=image, std=std, samples=samples, rays=rays)
    assert len(render_report(noisy).encode()) < 8_000_000


def test_no_samples_and_no_noise_in_the_fit_are_drawn_too() -> None:
    made = fake_reconstruction(n_samples=0, calibration=fake_calibration(n_rays=0))
    text = Page(render_report(made)).text
    assert "Sample 1" not in text
    assert "means over" not in text
    assert "nothing could be held against" in text


def test_deviation_is_relative_where_there_is_something_to_divide_by() -> None:
    relative = relative_deviation(np.array([[0.0, -1.0], [1.0, 2.0]]), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(relative, [[np.nan, np.nan], [50.0, 25.0]])


@pytest.mark.parametrize("shape", [(5, 7), (8, 8), (9, 16), (1, 31)])
def test_averaging_keeps_the_field_and_the_values(shape: tuple[int, int]) -> None:
    small = averaged(np.full((2, *shape), 3.0), (2, 3))
    assert small.shape == (2, -(-shape[0] // 2), -(-shape[1] // 3))
    assert np.all(small == 3.0)
    np.testing.assert_array_equal(averaged(np.array([[1.0, 3.0], [5.0, 7.0]]), (2, 2)), [[4.0]])


@given(
    values=arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan)),
    n_bytes=st.sampled_from([1, 2]),
)
def test_packed_levels_are_the_numbers_to_half_a_step(values: NDArray[np.float32], n_bytes: int) -> None:
    found = packed_levels(values, n_bytes=n_bytes)
    levels = np.frombuffer(gzip.decompress(base64.b64decode(found["levels"])), f"<u{n_bytes}").reshape(3, 4)
    unpacked = np.where(levels == 0, np.nan, found["low"] + (levels - 1.0) * found["step"])
    np.testing.assert_array_equal(np.isnan(values), levels == 0)
    np.testing.assert_allclose(unpacked, values, atol=0.51 * found["step"], rtol=1e-12)


def test_the_least_certain_square_is_where_the_deviation_is() -> None:
    made = fake_reconstruction(shape=(32, 48), pixel_mm=0.5)
    std = torch.full((32, 48), 0.001)
    std[4:8, 40:44] = 0.01
    std[20, 20] = 0.02  # one pixel is no region
    worst = least_certain(replace(made, std=std))
    assert abs(worst.x_mm - 9) < 1.01
    assert abs(worst.y_mm - 5) < 1.01
    assert worst.std == pytest.approx(0.01)


def test_the_residual_is_what_the_image_leaves_in_deviations_of_a_ray() -> None:
    made = gaussian_reconstruction(scan_of(range(0, 180, 15)), smooth=True)
    assert made.rays is not None
    assert made.rays.sinogram is not None
    residual = scaled_residual(made.rays, made.rays.sinogram, made.image)
    by_hand = (made.rays.sinogram - RayTransform(made.rays.geometry)(made.image)) / math.sqrt(1e-4 + 1e-5)
    np.testing.assert_allclose(residual, by_hand.numpy(), rtol=1e-5, atol=1e-5)


def test_views_that_tested_are_marked_and_rays_beyond_their_deviation_counted() -> None:
    made = gaussian_reconstruction(scan_of(range(0, 180, 15)))
    tested = replace(made.calibration, angles_rad=(math.radians(30), math.radians(105)), n_angles=2)
    made = replace(made, calibration=tested)
    assert made.rays is not None
    assert made.rays.sinogram is not None
    found = report_numbers.report_numbers(made)["sinogram"]
    assert found["tested"] == [2, 7]
    residual = scaled_residual(made.rays, made.rays.sinogram, made.image)
    assert found["beyond"] == [100 * float((abs(residual) > limit).mean()) for limit in (2, 3)]
    text = Page(render_report(made)).text
    assert "12 views over 0 to 165°, all fitted in the end; 2 test views, predicted" in text
    assert "noise alone would leave 4.6 % and 0.27 %" in text


def test_a_result_without_a_command_says_so_instead_of_an_empty_box() -> None:
    made = fake_reconstruction()
    page = render_report(replace(made, provenance=replace(made.provenance, command="")))
    assert "Made from Python" in page
    assert 'id="command"' not in page
