"""The picture: what is on it, for ordinary reconstructions and odd ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from ctuq.errors import InputError
from ctuq.figures import deviation_limits, image_limits
from ctuq.picture import draw_picture
from tests.ctuq.fake_results import fake_calibration, fake_provenance, fake_reconstruction


def test_both_maps_have_units_millimetres_and_colour_bars(tmp_path: Path) -> None:
    made = fake_reconstruction(shape=(24, 32), pixel_mm=0.5)
    left, right, *bars = draw_picture(made).axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["x (mm)", "x (mm)"]
    assert [axes.get_ylabel() for axes in (left, right)] == ["y (mm)", "y (mm)"]
    assert [bar.get_ylabel() for bar in bars] == ["attenuation (1/mm)", "standard deviation (1/mm)"]
    assert left.get_xlim() == (-8, 8)
    assert left.get_ylim() == (-6, 6)  # y grows upwards
    np.testing.assert_array_equal(left.images[0].get_array(), made.image)
    np.testing.assert_array_equal(right.images[0].get_array(), made.std)
    assert left.images[0].origin == "upper"  # row 0 is the top


def test_the_verdict_stands_on_the_picture_in_one_line() -> None:
    good = draw_picture(fake_reconstruction()).get_supxlabel()
    assert good.startswith("error bars calibrated: of 1,260 test rays 9")
    bad = draw_picture(fake_reconstruction(calibration=fake_calibration(spread=2.0))).get_supxlabel()
    assert bad.startswith("error bars not calibrated")
    assert "\n" not in good + bad


def test_the_file_is_a_png_of_150_dpi(tmp_path: Path) -> None:
    path = fake_reconstruction().picture(tmp_path / "r.png")
    rows, cols = imread(path).shape[:2]
    assert (rows, cols) == (810, 1725)
    assert [file.name for file in tmp_path.iterdir()] == ["r.png"]


@pytest.mark.parametrize("value", [0.0, 0.05])
def test_a_constant_image_is_drawn(tmp_path: Path, value: float) -> None:
    made = fake_reconstruction(image=torch.full((24, 32), value))
    assert made.picture(tmp_path / "r.png").stat().st_size > 10_000


def test_a_name_with_dollars_is_no_formula_and_a_long_one_is_cut(tmp_path: Path) -> None:
    provenance = fake_provenance(scan_name=r"run $\frac{$ " + "x" * 300)
    figure = draw_picture(fake_reconstruction(provenance=provenance))
    figure.savefig(tmp_path / "r.png")
    assert len(figure.get_suptitle()) == 100


def test_one_hot_pixel_does_not_take_the_grey_scale() -> None:
    image = np.full((100, 100), 0.02)
    image[:50] = 0.0
    image[0, 0] = 50.0
    assert image_limits(image) == (0.0, 0.02)
    assert deviation_limits(np.full((4, 4), 0.3)) == (0.0, 0.3)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        fake_reconstruction().picture(tmp_path / "missing" / "r.png")
