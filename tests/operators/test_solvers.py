from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from operators import MatrixMap, RayTransform, Solution, cgls, conjugate_gradient_iterate, conjugate_gradients
from tests.cases import FAN


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_cgls_is_least_squares_of_least_norm() -> None:
    for matrix in (draw(12, 7), draw(7, 12)):
        data = draw(2, 3, matrix.shape[0])
        solution = cgls(MatrixMap(matrix), data, iterations=60, tolerance=1e-12)
        torch.testing.assert_close(solution.value, data @ torch.linalg.pinv(matrix).mT)
        assert solution.converged
        assert solution.relative_residual.shape == (2, 3)


def test_cgls_reconstructs() -> None:
    transform, x = RayTransform(FAN), draw(*FAN.grid.shape)
    solution = cgls(transform, transform(x), iterations=400, tolerance=1e-6)
    assert solution.converged
    assert float((transform(solution.value) - transform(x)).norm() / transform(x).norm()) < 1e-3


@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients_solve(preconditioned: bool) -> None:
    root = draw(10, 10)
    matrix = root @ root.mT + torch.diag(torch.logspace(0, 2, 10, dtype=torch.float64))
    data = draw(4, 2, 5)
    linear_map = MatrixMap(matrix, in_shape=(2, 5), out_shape=(2, 5))
    inverse_diagonal = (1 / matrix.diagonal()).reshape(2, 5)
    solution = conjugate_gradients(
        linear_map,
        data,
        iterations=60,
        tolerance=1e-12,
        preconditioner=(lambda r: r * inverse_diagonal) if preconditioned else None,
    )
    torch.testing.assert_close(solution.value.reshape(4, 10), torch.linalg.solve(matrix, data.reshape(4, 10).mT).mT)
    assert solution.converged


@pytest.mark.parametrize("solve", [cgls, conjugate_gradients])
def test_columns_are_judged_one_by_one(solve: Callable[..., Solution]) -> None:
    matrix = torch.diag(torch.logspace(0, 3, 8, dtype=torch.float64))
    data = torch.stack([torch.zeros(8, dtype=torch.float64), matrix[3], draw(8)])
    solution = solve(MatrixMap(matrix), data, iterations=2, tolerance=1e-8)
    assert solution.relative_residual[0] == 0
    assert solution.relative_residual[1] < 1e-8
    assert solution.relative_residual[2] > 1e-8
    assert not solution.converged
    assert solution.iterations == 2


def test_a_start_saves_steps_and_changes_nothing_else() -> None:
    root = draw(30, 30)
    linear_map, data = MatrixMap(root @ root.mT + torch.eye(30, dtype=torch.float64)), draw(2, 30)
    cold = conjugate_gradients(linear_map, data, iterations=60, tolerance=1e-10)
    warm = conjugate_gradients(linear_map, data, iterations=60, tolerance=1e-10, start=cold.value + 1e-8 * data)
    there = conjugate_gradients(linear_map, data, iterations=60, tolerance=1e-9, start=cold.value)
    assert there.iterations == 0 < warm.iterations < cold.iterations
    torch.testing.assert_close(warm.value, cold.value)
    assert warm.converged


def test_a_start_for_other_equations_does_no_harm() -> None:
    root = draw(30, 30)
    matrix, data = root @ root.mT + torch.eye(30, dtype=torch.float64), draw(3, 30)
    solved = torch.linalg.solve(matrix, data.mT).mT
    # As of one-sixteenth of the map, and in another order.
    start = 16 * solved[[2, 0, 1]]
    warm = conjugate_gradients(MatrixMap(matrix), data, iterations=1, tolerance=1e-9, start=start)
    assert warm.converged
    assert warm.iterations == 0
    torch.testing.assert_close(warm.value, solved)
    for useless in (torch.zeros_like(data), torch.full_like(data, torch.nan)):
        cold, same = (
            conjugate_gradients(MatrixMap(matrix), data, iterations=5, tolerance=1e-9, start=guess)
            for guess in (None, useless)
        )
        assert same.iterations == cold.iterations == 5
        assert same.value.equal(cold.value)


def test_a_map_that_gives_no_numbers_is_reported_and_not_raised() -> None:
    for matrix, data in ((torch.full((2, 2), torch.nan), torch.ones(2)), (torch.zeros(2, 2), torch.ones(2))):
        solution = conjugate_gradients(MatrixMap(matrix.double()), data.double(), iterations=10)
        assert not solution.converged
    solution = conjugate_gradients(
        MatrixMap(torch.eye(2, dtype=torch.float64)),
        torch.ones(2, dtype=torch.float64),
        iterations=10,
        preconditioner=torch.zeros_like,
    )
    assert solution.value.equal(torch.zeros(2, dtype=torch.float64))
    assert not solution.converged


def test_columns_help_each_other() -> None:
    matrix = torch.diag(torch.logspace(0, 3, 60, dtype=torch.float64))
    data = draw(20, 60)
    alone = conjugate_gradients(MatrixMap(matrix), data[:1], iterations=200, tolerance=1e-8)
    together = conjugate_gradients(MatrixMap(matrix), data, iterations=200, tolerance=1e-8)
    assert together.converged
    # Three blocks of twenty directions span all there is; one column alone needs a step for each.
    assert together.iterations == 3
    assert alone.iterations > 30


def test_columns_that_depend_on_each_other_do_not_break_it_down() -> None:
    root = draw(12, 12)
    matrix = root @ root.mT + torch.eye(12, dtype=torch.float64)
    data = draw(2, 12)
    data = torch.cat([data, data, data.sum(0, keepdim=True), torch.zeros_like(data)])
    solution = conjugate_gradients(MatrixMap(matrix), data, iterations=12, tolerance=1e-10)
    torch.testing.assert_close(solution.value, torch.linalg.solve(matrix, data.mT).mT)


def test_residuals_are_measured_against_the_scale() -> None:
    matrix, data = torch.diag(torch.logspace(0, 3, 40, dtype=torch.float64)), draw(1, 40)
    fine = conjugate_gradients(MatrixMap(matrix), data, iterations=99, tolerance=1e-4, scale=data / 1e4)
    rough = conjugate_gradients(MatrixMap(matrix), data, iterations=99, tolerance=1e-4)
    assert fine.converged
    assert fine.iterations > rough.iterations
    left = torch.linalg.vector_norm(matrix @ fine.value[0] - data[0]) / torch.linalg.vector_norm(data / 1e4)
    torch.testing.assert_close(fine.relative_residual[0], left)


def test_an_indefinite_map_does_not_converge() -> None:
    matrix = torch.diag(torch.tensor([1.0, -2.0], dtype=torch.float64))
    solution = conjugate_gradients(MatrixMap(matrix), torch.ones(2, dtype=torch.float64), iterations=10)
    assert solution.value.isfinite().all()
    assert not solution.converged


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="must be square"):
        conjugate_gradients(MatrixMap(draw(3, 4)), draw(3), iterations=2)
    with pytest.raises(ValueError, match=r"start must have the shape of data, \(4,\), got \(2, 4\)"):
        conjugate_gradients(MatrixMap(draw(4, 4)), draw(4), iterations=2, start=draw(2, 4))
    with pytest.raises(ValueError, match="scale"):
        conjugate_gradients(MatrixMap(draw(4, 4)), draw(4), iterations=2, scale=draw(2, 4))
    with pytest.raises(ValueError, match="iterations"):
        cgls(MatrixMap(draw(3, 4)), draw(3), iterations=0)
    with pytest.raises(ValueError, match="data must end in the axes"):
        cgls(MatrixMap(draw(3, 4)), draw(4), iterations=1)


def test_an_iterate_hands_on_what_it_searched_along() -> None:
    root = draw(12, 12)
    matrix = root @ root.mT + 0.1 * torch.eye(12, dtype=torch.float64)
    columns = draw(3, 12)
    found = conjugate_gradient_iterate(MatrixMap(matrix), columns, iterations=3, tolerance=1e-12, keep=4)
    assert found.iterations == 3
    assert len(found.search) == 6  # whole steps, of which the first has less than what is to be kept
    torch.testing.assert_close(found.search @ matrix @ found.search.mT, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(found.images, found.search @ matrix)
    assert len(conjugate_gradient_iterate(MatrixMap(matrix), columns, iterations=3, tolerance=1e-12).search) == 0
    checked = conjugate_gradients(MatrixMap(matrix), columns, iterations=3, tolerance=1e-12)
    assert found.value.equal(checked.value)
