from __future__ import annotations

import pytest
import torch
from torch import Tensor

from operators import LinearMap, MatrixMap, StackedMap
from operators.testing import assert_linear_map
from tests.cases import LINEAR_MAPS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LINEAR_MAPS)
def test_conforms(name: str, dtype: torch.dtype) -> None:
    assert_linear_map(LINEAR_MAPS[name](dtype), generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("name", LINEAR_MAPS)
def test_names_the_shape_it_wants(name: str) -> None:
    linear_map: LinearMap = LINEAR_MAPS[name](torch.float64)
    with pytest.raises(ValueError, match="must end in the axes"):
        linear_map(torch.zeros(*linear_map.in_shape, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="must end in the axes"):
        linear_map.adjoint(torch.zeros(1, dtype=torch.float64))


class _WrongAdjoint(MatrixMap):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y) * 1.001


def test_conformance_check_catches_an_adjoint_that_is_a_little_off() -> None:
    wrong = _WrongAdjoint(torch.eye(4, dtype=torch.float64))
    with pytest.raises(AssertionError, match="not the transpose"):
        assert_linear_map(wrong, generator=torch.Generator().manual_seed(0))


def test_matrix_map_checks_its_shapes() -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        MatrixMap(torch.zeros(3))
    with pytest.raises(ValueError, match="in_shape must hold 4 elements"):
        MatrixMap(torch.zeros(3, 4), in_shape=(3, 2))


def test_stacked_rays_are_the_firsts_then_the_seconds() -> None:
    first, second = LINEAR_MAPS["parallel-strip"](torch.float64), LINEAR_MAPS["fan-strip"](torch.float64)
    image = torch.randn(5, *first.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.cat([first(image).flatten(1), second(image).flatten(1)], dim=1)
    assert torch.equal(StackedMap(first, second)(image), expected)
    with pytest.raises(ValueError, match="both maps must take the same image"):
        StackedMap(first, MatrixMap(torch.zeros(3, 4, dtype=torch.float64)))
