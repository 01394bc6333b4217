import math

import pytest

from tests.benchmarks.views_saved import summary, views_needed


def test_views_needed_lie_on_the_line_between_two_points() -> None:
    curve = {"5": 20.0, "10": 26.0, "15": 25.0, "20": 30.0}
    assert views_needed(curve, 19.0) == 5
    assert views_needed(curve, 23.0) == 7.5
    assert views_needed(curve, 27.5) == 17.5
    assert math.isinf(views_needed(curve, 30.1))


def test_what_is_saved_is_paired_over_images() -> None:
    images = {
        str(index): {
            "equidistant": {"psnr_db": {"20": 28.0 + index}},
            "planned": {"psnr_db": {"10": 26.0 + index, "15": 30.0 + index}},
            "matern": {"psnr_db": {"10": 20.0, "15": 21.0}},
        }
        for index in range(3)
    }
    found = summary(images, ("planned", "matern"), (20,), 30)["20"]
    assert found["planned"]["saved"]["mean"] == pytest.approx(1 - 12.5 / 20)
    assert found["planned"]["saved"]["low"] == pytest.approx(found["planned"]["saved"]["high"])
    assert found["matern"]["never"] == 3
    assert found["views fewer than matern"]["mean"] == pytest.approx(32 - 12.5)
