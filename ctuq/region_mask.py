"""A region of interest in words: a disc or a rectangle in mm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctuq.errors import InputError
from operators import ImageGrid

_FORM = "disc:X,Y,RADIUS or rectangle:LEFT,BOTTOM,RIGHT,TOP in mm from the rotation axis, x to the right and y up"


def region_mask(text: str, grid: ImageGrid) -> Tensor:
    """The pixels whose centres lie in the region, (row, col) bool.

    Args:
        text: such as "disc:10,-5,8" or "rectangle:-10,-10,0,0".
        grid: the image.

    Raises:
        InputError: another form, or a region without a pixel.
    """
    kind, _, rest = text.partition(":")
    try:
        numbers = [float(number) for number in rest.split(",")]
    except ValueError:
        numbers = []
    x, y = torch.meshgrid(grid.x_mm(), grid.y_mm(), indexing="xy")
    if kind == "disc" and len(numbers) == 3 and all(map(math.isfinite, numbers)):
        mask = (x - numbers[0]).hypot(y - numbers[1]) <= numbers[2]
    elif kind == "rectangle" and len(numbers) == 4 and all(map(math.isfinite, numbers)):
        left, bottom, right, top = numbers
        mask = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    else:
        raise InputError(f"expected a region as {_FORM}, got {text!r}: try disc:0,0,10")
    if not mask.any():
        height, width = grid.extent_mm
        raise InputError(
            f"expected a region with a pixel inside, got {text!r}, which holds none of the image's {width:g} × "
            f"{height:g} mm about the rotation axis: check its place and size, in mm"
        )
    return mask
