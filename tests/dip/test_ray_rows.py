"""Rows of the Jacobian that are taken by parts of the layers, and what is summed over them."""

from __future__ import annotations

import math
import weakref
from typing import Any, get_args

import pytest
import torch

from dip import NetworkJacobian, UNet, UNetSettings, linearise, ray_jacobian, ray_rows
from dip.ray_rows import RayRows, parts_of_layers
from dip.weight_prior import PriorKind, weight_groups
from operators import ImageGrid, ParallelBeam, RayTransform

SCAN = ParallelBeam(grid=ImageGrid(shape=(8, 8)), angles_rad=[0.1, 0.9, 2.0], n_detectors=7)


def jacobian() -> NetworkJacobian:
    generator = torch.Generator().manual_seed(0)
    network = UNet(UNetSettings(channels=(3, 4), skip_channels=(2,)), generator=generator)
    return NetworkJacobian(network, torch.randn(1, 1, 8, 8, generator=generator))


def test_parts_are_neighbouring_layers_and_no_larger_than_they_must_be() -> None:
    layers = jacobian().layers()
    sizes = {name: weights.stop - weights.start for name, weights in layers.items()}
    most = max(sizes.values()) + 1
    parts = parts_of_layers(sizes, most)
    assert [name for part in parts for name in part] == list(layers)
    assert len(parts) > 2
    assert all(sum(sizes[name] for name in part) <= most for part in parts)
    assert [len(part) for part in parts_of_layers(sizes, 1)] == [1] * len(layers)


def test_parts_side_by_side_are_the_whole_and_a_whole_is_computed_once() -> None:
    transform, rays = RayTransform(SCAN), torch.arange(21)
    told: list[tuple[int, int]] = []
    every = RayRows(jacobian(), transform, rays, most_bytes=4000, on_step=lambda *step: told.append(step))
    whole = ray_jacobian(jacobian(), transform, rays)
    for _ in range(2):
        parts = list(every)
        assert torch.cat([part.rows for part in parts], dim=1).equal(whole)
        assert [part.weights.start for part in parts[1:]] == [part.weights.stop for part in parts[:-1]]
    assert told[-1][0] == told[-1][1] == len(every.parts) * 21
    once = RayRows(jacobian(), transform, rays, most_bytes=math.inf)
    assert next(iter(once)).rows is next(iter(once)).rows


@pytest.mark.parametrize("kind", ["block", "g-prior"])
def test_parts_are_let_go_of_before_the_next(kind: PriorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watched(*arguments: Any, **settings: Any) -> torch.Tensor:
        alive.append(sum(one() is not None for one in made))
        rows = ray_jacobian(*arguments, **settings)
        made.append(weakref.ref(rows))
        return rows

    monkeypatch.setattr(ray_rows, "ray_jacobian", watched)
    linearise(
        jacobian(),
        RayTransform(SCAN),
        torch.ones(8, 8),
        kind=kind,
        relative_noise=torch.ones(3, 7, dtype=torch.float64),
        smooth_errors=False,
        rows_bytes=4000,
    )
    assert len(made) > 4
    assert set(alive) == {0}


@pytest.mark.parametrize("kind", get_args(PriorKind))
def test_a_model_by_parts_is_the_model(kind: PriorKind) -> None:
    image = torch.rand(8, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.linspace(0.5, 2, 21, dtype=torch.float64).reshape(3, 7)

    def model(rows_bytes: float) -> tuple[torch.Tensor, torch.Tensor]:
        found = linearise(
            jacobian(),
            RayTransform(SCAN),
            image,
            kind=kind,
            relative_noise=noise,
            smooth_errors=False,
            rows_bytes=rows_bytes,
        )
        variances = {name: 0.5 + 0.1 * number for number, name in enumerate(found.covariance.names)}
        return found.covariance.matrix(variances), found.response

    whole, by_parts = model(math.inf), model(4000)
    torch.testing.assert_close(by_parts[0], whole[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_parts[1], whole[1], rtol=1e-5, atol=1e-6)


def test_the_g_prior_needs_its_scale() -> None:

    with pytest.raises(ValueError, match="needs the sensitivity"):
        weight_groups(jacobian(), "g-prior")
