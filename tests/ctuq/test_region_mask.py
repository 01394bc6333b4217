from __future__ import annotations

import pytest

from ctuq.errors import InputError
from ctuq.region_mask import region_mask
from operators import ImageGrid

GRID = ImageGrid(shape=(20, 30), pixel_mm=0.5)


def test_a_disc_lies_where_it_is_said_to() -> None:
    mask = region_mask("disc:3,2,1.5", GRID)
    x, y = GRID.x_mm()[None], GRID.y_mm()[:, None]
    assert (mask == ((x - 3) ** 2 + (y - 2) ** 2 <= 1.5**2)).all()
    assert mask[:10, 15:].sum() == mask.sum()  # to the right and up


def test_a_rectangle_lies_where_it_is_said_to() -> None:
    mask = region_mask("rectangle:-7.5,-5,0,0", GRID)
    assert mask[10:, :15].all()
    assert int(mask.sum()) == 150


@pytest.mark.parametrize(
    "text", ["", "disc", "disc:1,2", "disc:1,2,x", "rectangle:1,2,3", "circle:0,0,1", "disc:0,0,nan"]
)
def test_another_form_is_shown_the_form(text: str) -> None:
    with pytest.raises(InputError, match="disc:X,Y,RADIUS or rectangle:"):
        region_mask(text, GRID)


def test_a_region_outside_the_image_is_named() -> None:
    with pytest.raises(InputError, match="a pixel inside"):
        region_mask("disc:100,0,5", GRID)
