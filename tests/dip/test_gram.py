from __future__ import annotations

import torch

from dip import gram_matrices, ray_jacobian
from dip.gram import symmetric_product
from operators import RayTransform
from tests.cases import OBLONG, PARALLEL_OFFSET, network_jacobian
from tests.dip.dense import dense, generator, randn


def test_ray_jacobian_is_the_product() -> None:
    jacobian, transform = network_jacobian(shape=OBLONG.shape, batch=1), RayTransform(PARALLEL_OFFSET)
    steps: list[tuple[int, int]] = []
    rows = ray_jacobian(jacobian, transform, on_step=lambda done, total: steps.append((done, total)))
    torch.testing.assert_close(rows, dense(transform) @ dense(jacobian))
    n_rays = len(rows)
    assert len(steps) > 1
    assert steps[-1] == (n_rays, n_rays)


def test_gram_matrices_are_the_groups_products_and_add_up_to_the_whole() -> None:
    # More weights than one tile, and a number of rays that the panels do not divide.
    rows = randn(27, 9001)
    order = torch.randperm(9001, generator=generator())
    groups = {"first": order[:50], "second": order[50:5000], "third": order[5000:]}
    grams = gram_matrices(rows, groups)
    assert list(grams) == list(groups)
    for name, index in groups.items():
        torch.testing.assert_close(grams[name], rows[:, index] @ rows[:, index].mT)
        assert torch.equal(grams[name], grams[name].mT)
    torch.testing.assert_close(torch.stack(list(grams.values())).sum(0), rows @ rows.mT)


def test_float32_rows_are_summed_in_float64() -> None:
    rows = 1 + 1e-3 * torch.randn(3, 5000, generator=generator())
    exact = rows.double() @ rows.double().mT
    torch.testing.assert_close(symmetric_product(rows), exact, rtol=1e-13, atol=0)
    # The difference of two rays is what float32 sums would lose.
    contrast = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    expected = (rows[0].double() - rows[1].double()).square().sum()
    torch.testing.assert_close(contrast @ symmetric_product(rows) @ contrast, expected)


def test_one_ray_is_enough() -> None:
    rows = randn(1, 10)
    torch.testing.assert_close(symmetric_product(rows), rows @ rows.mT)
