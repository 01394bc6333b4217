from __future__ import annotations

import pytest
import torch
from torch import Tensor

from operators import MatrixMap, conjugate_gradients, nystrom_approximation, nystrom_from_products

N = 60


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decaying(n: int = N, *, decay: float = 0.6) -> Tensor:
    """Symmetric, with eigenvalues 1e4 · decay^k in a random basis."""
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator(1), dtype=torch.float64)).Q
    matrix: Tensor = basis * (1e4 * decay ** torch.arange(n, dtype=torch.float64)) @ basis.mT
    return matrix


def as_map(matrix: Tensor) -> MatrixMap:
    return MatrixMap(matrix, in_shape=(6, 10), out_shape=(6, 10))


def test_full_rank_is_exact() -> None:
    matrix = decaying(decay=0.9)
    found = nystrom_approximation(as_map(matrix), N, generator=generator(), batch=7)
    torch.testing.assert_close(found.vectors * found.values @ found.vectors.mT, matrix, rtol=0, atol=1e-8)
    expected = torch.linalg.solve(matrix + 0.5 * torch.eye(N), torch.ones(N, dtype=torch.float64))
    ones = torch.ones(2, 6, 10, dtype=torch.float64)
    scale = float(found.values[-1]) + 0.5
    solved = found.power(ones, -1, shift=0.5)
    torch.testing.assert_close(solved[1].reshape(N) / scale, expected)


def test_half_powers_undo_each_other_and_two_of_them_make_a_whole() -> None:
    found = nystrom_approximation(as_map(decaying()), 20, generator=generator())
    x = torch.randn(3, 6, 10, generator=generator(4), dtype=torch.float64)
    half = found.power(x, -0.5, shift=0.3)
    torch.testing.assert_close(found.power(half, 0.5, shift=0.3), x)
    torch.testing.assert_close(found.power(half, -0.5, shift=0.3), found.power(x, -1, shift=0.3))


def test_low_rank_is_never_above_the_map_and_misses_little() -> None:
    matrix, rank = decaying(), 20
    found = nystrom_approximation(as_map(matrix), rank, generator=generator())
    missed = torch.linalg.eigvalsh(matrix - found.vectors * found.values @ found.vectors.mT)
    assert float(missed[0]) > -1e-8
    # The expected error is below this (Frangella, Tropp & Udell, with an oversampling of 2).
    values = torch.linalg.eigvalsh(matrix).flip(0)
    k = rank - 2
    bound = (1 + 2 * k) * values[k] + 2 * torch.e**2 * rank / 3 * values[k:].sum()
    assert float(missed[-1]) < float(bound)
    torch.testing.assert_close(found.vectors.mT @ found.vectors, torch.eye(rank, dtype=torch.float64))
    assert (found.values.diff() <= 0).all()


def test_rank_beyond_the_maps_own_is_stable() -> None:
    root = torch.randn(N, 5, generator=generator(2), dtype=torch.float64)
    single = (root @ root.mT).float()

    class Float32Products:
        in_shape = out_shape = (N,)

        def __call__(self, x: Tensor) -> Tensor:
            return (x.float() @ single).double()

        adjoint = __call__

    found = nystrom_approximation(Float32Products(), 12, generator=generator(), rounding=torch.finfo(torch.float32).eps)
    error = found.vectors * found.values @ found.vectors.mT - root @ root.mT
    assert float(torch.linalg.matrix_norm(error, 2) / torch.linalg.matrix_norm(root @ root.mT, 2)) < 1e-4


def test_the_preconditioner_saves_iterations() -> None:
    matrix = decaying() + torch.eye(N, dtype=torch.float64)
    data = torch.randn(3, 6, 10, generator=generator(3), dtype=torch.float64)
    found = nystrom_approximation(as_map(decaying()), 20, generator=generator())
    plain = conjugate_gradients(as_map(matrix), data, iterations=200, tolerance=1e-8)
    helped = conjugate_gradients(
        as_map(matrix),
        data,
        iterations=200,
        tolerance=1e-8,
        preconditioner=lambda residual: found.power(residual, -1, shift=1.0),
    )
    assert plain.converged
    assert helped.converged
    assert 2 * helped.iterations < plain.iterations
    torch.testing.assert_close(helped.value, plain.value, rtol=0, atol=1e-6)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="must be square"):
        nystrom_approximation(MatrixMap(torch.ones(2, 3)), 1, generator=generator())
    for rank in (0, 4):
        with pytest.raises(ValueError, match=f"rank must be 1 to 3, the map's dimension, got {rank}"):
            nystrom_approximation(MatrixMap(torch.eye(3, dtype=torch.float64)), rank, generator=generator())
    with pytest.raises(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        nystrom_approximation(MatrixMap(-torch.eye(3, dtype=torch.float64)), 2, generator=generator())


def test_products_that_are_known_make_the_same_approximation() -> None:
    matrix = decaying()
    test = torch.randn(N, 12, generator=generator(), dtype=torch.float64)
    found = nystrom_from_products(test, matrix @ test, rounding=1e-16)
    image = matrix @ test
    expected = image @ torch.linalg.solve(test.mT @ image, image.mT)
    approximation = found.vectors * found.values @ found.vectors.mT
    torch.testing.assert_close(approximation, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_vectors_that_nearly_depend_or_are_zero_add_nothing() -> None:
    matrix = decaying()
    test = torch.randn(N, 8, generator=generator(), dtype=torch.float64)
    more = torch.cat([test, 1e3 * test[:, :3] + 1e-3 * torch.randn(N, 3, dtype=torch.float64), 0 * test[:, :1]], dim=1)
    single = (matrix.float() @ more.float()).double()
    found = nystrom_from_products(more, single, rounding=torch.finfo(torch.float32).eps)
    assert len(found.values) == 8
    values = torch.linalg.eigvalsh(matrix - found.vectors * found.values @ found.vectors.mT)
    assert float(values[0]) > -1e-4 * float(torch.linalg.eigvalsh(matrix)[-1])


def test_more_vectors_than_dimensions_make_all_of_it() -> None:
    matrix = decaying()
    test = torch.randn(N, N + 5, generator=generator(), dtype=torch.float64)
    found = nystrom_from_products(test, matrix @ test, rounding=1e-16)
    torch.testing.assert_close(found.vectors * found.values @ found.vectors.mT, matrix, rtol=1e-6, atol=1e-9)


def test_nothing_but_zeros_is_refused() -> None:
    with pytest.raises(RuntimeError, match="other than zero"):
        nystrom_from_products(torch.zeros(N, 2).double(), torch.zeros(N, 2).double(), rounding=1e-16)
