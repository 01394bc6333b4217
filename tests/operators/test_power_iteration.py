from __future__ import annotations

import pytest
import torch

from operators import MatrixMap, largest_eigenvalue


@pytest.mark.parametrize("seed", range(4))
def test_largest_eigenvalue_from_below(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT
    exact = float(torch.linalg.eigvalsh(matrix)[-1])
    found = largest_eigenvalue(MatrixMap(matrix, in_shape=(3, 4), out_shape=(3, 4)), generator=generator)
    assert 0.9 * exact < found <= exact * (1 + 1e-12)


def test_a_map_to_zero_has_none() -> None:
    zeros = MatrixMap(torch.zeros(3, 3, dtype=torch.float64))
    assert largest_eigenvalue(zeros, generator=torch.Generator()) == 0


def test_a_map_must_be_square() -> None:
    with pytest.raises(ValueError, match="must be square"):
        largest_eigenvalue(MatrixMap(torch.ones(2, 3)), generator=torch.Generator())
