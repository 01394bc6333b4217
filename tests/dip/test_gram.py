from __future__ import annotations

import pytest
import torch

from dip import WeightGroup, filter_gram_matrices, gram_matrices, ray_jacobian
from dip.filter_covariance import correlations, tap_root
from dip.gram import pixel_gram_matrix, symmetric_product
from operators import Geometry, RayTransform, VolumeScan
from tests.cases import FAN_OFFSET, OBLONG, PARALLEL_OFFSET, VOLUME_SCANS, network_jacobian
from tests.dip.dense import dense, generator, randn


def test_ray_jacobian_is_the_product() -> None:
    jacobian, transform = network_jacobian(shape=OBLONG.shape, batch=1), RayTransform(PARALLEL_OFFSET)
    steps: list[tuple[int, int]] = []
    rows = ray_jacobian(jacobian, transform, on_step=lambda done, total: steps.append((done, total)))
    torch.testing.assert_close(rows, dense(transform) @ dense(jacobian))
    n_rays = len(rows)
    assert len(steps) > 1
    assert steps[-1] == (n_rays, n_rays)


def test_some_rays_are_rows_of_all() -> None:
    jacobian, transform = network_jacobian(shape=OBLONG.shape), RayTransform(PARALLEL_OFFSET)
    some = torch.tensor([5, 0, 11])
    torch.testing.assert_close(ray_jacobian(jacobian, transform, some), ray_jacobian(jacobian, transform)[some])


@pytest.mark.parametrize("scan", [PARALLEL_OFFSET, FAN_OFFSET, *VOLUME_SCANS.values()])
def test_pixels_gram(scan: Geometry | VolumeScan) -> None:
    transform = RayTransform(scan)
    some = torch.tensor([5, 0, *range(11, 90)])  # more than are taken at a time
    matrix = torch.as_tensor(transform.matrix().toarray())[some]
    torch.testing.assert_close(pixel_gram_matrix(transform, some), matrix @ matrix.mT)


def test_gram_matrices_are_the_groups_products_and_add_up_to_the_whole() -> None:
    # More weights than one tile, and a number of rays that the panels do not divide.
    rows = randn(27, 9001)
    order = torch.randperm(9001, generator=generator())
    parts = {"first": order[:50], "second": order[50:5000], "third": order[5000:]}
    grams = gram_matrices(rows, {name: WeightGroup(index, torch.ones(len(index))) for name, index in parts.items()})
    assert list(grams) == list(parts)
    for name, index in parts.items():
        torch.testing.assert_close(grams[name], rows[:, index] @ rows[:, index].mT)
        assert torch.equal(grams[name], grams[name].mT)
    torch.testing.assert_close(torch.stack(list(grams.values())).sum(0), rows @ rows.mT)


def test_weights_count_by_their_relative_deviation() -> None:
    rows, std = randn(5, 30), randn(20, seed=1).abs()
    index = torch.randperm(30, generator=generator())[:20]
    gram = gram_matrices(rows, {"g": WeightGroup(index, std)})["g"]
    torch.testing.assert_close(gram, rows[:, index] @ std.square().diag() @ rows[:, index].mT)


def test_filters_of_any_length_are_the_sum_over_their_six_distances() -> None:
    # More filters than one tile, and in any order.
    rows = randn(11, 9 * 500)
    order = (9 * torch.randperm(500, generator=generator())[:480, None] + torch.arange(9)).flatten()
    plain = torch.arange(9)
    groups = {"up.0": WeightGroup(order, torch.ones(len(order)), correlated=True), "1x1": WeightGroup(plain, plain)}
    grams = filter_gram_matrices(rows, groups)
    assert list(grams) == ["up.0"]
    assert list(gram_matrices(rows, groups)) == ["1x1"]
    for length in (0.3, 1.0, 9.0):
        root = rows[:, order].reshape(11, -1, 9) @ tap_root(length)
        expected = root.flatten(1) @ root.flatten(1).mT
        weights = torch.tensor(correlations(length), dtype=torch.float64)[:, None, None]
        torch.testing.assert_close((weights * grams["up.0"]).sum(0), expected)


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
