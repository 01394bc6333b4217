from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import astra
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import radon
from torch import Tensor

from operators import FanBeam, ImageGrid, ParallelBeam, RayTransform
from operators.system_matrix import Kernel, system_matrix
from operators.testing import adjoint_error
from tests.cases import FAN, FAN_OFFSET, GEOMETRIES, PARALLEL_OFFSET
from tests.operators.phantom import disc_image, disc_sinogram

GRID = ImageGrid(shape=(80, 80), pixel_mm=0.4)
VIEWS = np.linspace(0, 2 * math.pi, 25)[:-1] + 0.01
DISC_SCANS: dict[str, ParallelBeam | FanBeam] = {
    "parallel": ParallelBeam(grid=GRID, angles_rad=VIEWS, n_detectors=90, pitch_mm=0.45),
    "parallel-offset": ParallelBeam(grid=GRID, angles_rad=VIEWS, n_detectors=90, pitch_mm=0.45, cor_index=51.3),
    "fan": FanBeam(
        grid=GRID, angles_rad=VIEWS, n_detectors=90, pitch_mm=0.9, source_origin_mm=60, origin_detector_mm=60
    ),
    "wide-fan-offset": FanBeam(
        grid=GRID,
        angles_rad=VIEWS,
        n_detectors=110,
        pitch_mm=1.2,
        source_origin_mm=24,
        origin_detector_mm=40,
        cor_index=50.7,
    ),
}
KERNELS = ("line", "strip")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(transform: RayTransform) -> Tensor:
    return torch.from_numpy(transform.matrix().toarray())


@st.composite
def geometries(draw: st.DrawFn) -> ParallelBeam | FanBeam:
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    grid = ImageGrid(shape=shape, pixel_mm=draw(st.floats(0.1, 3)))
    angles = draw(st.lists(st.floats(-7, 7), min_size=1, max_size=5))
    n_detectors = draw(st.integers(1, 30))
    pitch = draw(st.floats(0.1, 3))
    cor_index = draw(st.none() | st.floats(-3, 33))
    if draw(st.booleans()):
        return ParallelBeam(grid=grid, angles_rad=angles, n_detectors=n_detectors, pitch_mm=pitch, cor_index=cor_index)
    reach = math.hypot(*grid.extent_mm) / 2
    return FanBeam(
        grid=grid,
        angles_rad=angles,
        n_detectors=n_detectors,
        pitch_mm=pitch,
        source_origin_mm=reach * draw(st.floats(1.05, 10)),
        origin_detector_mm=reach * draw(st.floats(0, 10)),
        cor_index=cor_index,
    )


def assert_exact_adjoint(transform: RayTransform, seed: int) -> None:
    """In either dtype up to its rounding."""
    for dtype, allowed in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        x = torch.randn(2, *transform.in_shape, generator=generator(seed), dtype=dtype)
        y = torch.randn(2, *transform.out_shape, generator=generator(seed + 1), dtype=dtype)
        assert adjoint_error(transform, x, y) < allowed


@settings(max_examples=60, deadline=None)
@given(geometry=geometries(), kernel=st.sampled_from(KERNELS), seed=st.integers(0, 2**31))
def test_every_geometry_has_an_exact_adjoint(geometry: ParallelBeam | FanBeam, kernel: Kernel, seed: int) -> None:
    assert_exact_adjoint(RayTransform(geometry, kernel=kernel), seed)


@settings(max_examples=40, deadline=None)
@given(geometry=geometries(), kernel=st.sampled_from(KERNELS))
def test_no_ray_is_longer_than_the_grid_and_none_is_negative(geometry: ParallelBeam | FanBeam, kernel: Kernel) -> None:
    matrix = system_matrix(geometry, kernel=kernel)
    assert (matrix.data >= 0).all()
    assert matrix.sum(axis=1).max() <= math.hypot(*geometry.grid.extent_mm) * (1 + 1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", DISC_SCANS)
def test_line_integrals_of_a_disc(name: str, kernel: Kernel) -> None:
    geometry = DISC_SCANS[name]
    sinogram, expected = RayTransform(geometry, kernel=kernel)(disc_image(GRID)), disc_sinogram(geometry)
    middle = expected > 0.6 * expected.max()
    assert float(sinogram[middle].sum() / expected[middle].sum()) == pytest.approx(1, abs=0.002)
    assert float((sinogram - expected).norm() / expected.norm()) < (0.01 if kernel == "strip" else 0.02)


@pytest.mark.parametrize("name", DISC_SCANS)
def test_strip_is_the_mean_of_many_lines(name: str) -> None:
    geometry = DISC_SCANS[name].select([0, 5, 14])
    n, fine = geometry.n_detectors, 32
    sub = _subdivided(geometry, fine)
    assert sub.binned(fine).axis_index == pytest.approx(geometry.axis_index)
    lines = system_matrix(sub, kernel="line").toarray().reshape(3, n, fine, -1).mean(2).reshape(3 * n, -1)
    strip = system_matrix(geometry).toarray()
    assert np.linalg.norm(strip - lines) < 0.01 * np.linalg.norm(lines)


def _subdivided(geometry: ParallelBeam | FanBeam, fine: int) -> ParallelBeam | FanBeam:
    cor_index = geometry.axis_index * fine + (fine - 1) / 2
    return replace(
        geometry, n_detectors=geometry.n_detectors * fine, pitch_mm=geometry.pitch_mm / fine, cor_index=cor_index
    )


def test_parallel_strip_is_astras() -> None:
    geometry = ParallelBeam(grid=ImageGrid(shape=(40, 30)), angles_rad=VIEWS, n_detectors=51, pitch_mm=0.8)
    volume, scan = astra.create_vol_geom(40, 30), astra.create_proj_geom("parallel", 0.8, 51, VIEWS)
    projector = astra.create_projector("strip", scan, volume)
    matrix = astra.projector.matrix(projector)
    expected = astra.matrix.get(matrix).toarray()
    astra.matrix.delete(matrix)
    astra.projector.delete(projector)
    assert np.linalg.norm(system_matrix(geometry).toarray() - expected) < 1e-3 * np.linalg.norm(expected)


def test_rotation_sense_is_skimages_transposed() -> None:
    image = disc_image(ImageGrid(shape=(64, 64), pixel_mm=0.5)).numpy()
    degrees = np.array([0.0, 30.0, 75.0, 140.0])
    expected = np.asarray(radon(image, degrees, circle=False)).T  # type: ignore[no-untyped-call]
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(64, 64)), angles_rad=np.deg2rad(degrees), n_detectors=expected.shape[1]
    )
    sinogram = RayTransform(geometry)(torch.from_numpy(image)).numpy()
    assert all(np.corrcoef(a, b)[0, 1] > 0.99 for a, b in zip(sinogram, expected, strict=True))
    assert np.corrcoef(sinogram[1], expected[1][::-1])[0, 1] < 0.9


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_select_is_slicing(geometry: ParallelBeam | FanBeam, kernel: Kernel) -> None:
    whole = RayTransform(geometry, kernel=kernel)
    part = whole.select([4, 1, -1])
    x = torch.randn(2, *whole.in_shape, generator=generator(), dtype=torch.float64)
    assert torch.equal(part(x), whole(x)[:, [4, 1, -1]])
    assert part.geometry == geometry.select([4, 1, 5])
    built = system_matrix(part.geometry, kernel=kernel)
    np.testing.assert_allclose(part.matrix().toarray(), built.toarray(), atol=1e-12)


def test_matrices_are_built_once() -> None:
    assert RayTransform(FAN).matrix() is RayTransform(FAN).matrix()


def test_unknown_kernel_and_dtype_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel must be"):
        RayTransform(FAN, kernel=cast("Kernel", "cubic"))
    with pytest.raises(TypeError, match="float32 or float64"):
        RayTransform(FAN)(torch.zeros(FAN.grid.shape, dtype=torch.float16))


def test_autocast_leaves_the_projection_in_float32() -> None:
    transform, x = RayTransform(FAN), torch.randn(FAN.grid.shape, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(x)
    assert torch.equal(inside, transform(x))


# torch.func's forward mode scripts its decompositions when first used.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("geometry", [PARALLEL_OFFSET, FAN_OFFSET], ids=["parallel", "fan"])
class TestDerivatives:
    def test_autograd_to_second_order(self, geometry: ParallelBeam | FanBeam) -> None:
        transform = RayTransform(geometry.with_grid(ImageGrid(shape=(4, 5), pixel_mm=1.5)).select([0, 2]))
        x = torch.randn(2, 4, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
        y = torch.randn(transform.out_shape, generator=generator(), dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(transform, x, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(lambda z: transform(z).sin(), x)
        assert torch.autograd.gradgradcheck(lambda z: transform.adjoint(z).sin(), y)

    def test_jacobians_are_the_matrix(self, geometry: ParallelBeam | FanBeam) -> None:
        transform = RayTransform(geometry)
        x = torch.randn(transform.in_shape, generator=generator(), dtype=torch.float64)
        matrix = dense(transform)
        for jacobian in (torch.func.jacrev(transform)(x), torch.func.jacfwd(transform)(x)):
            torch.testing.assert_close(jacobian.reshape(matrix.shape), matrix)
        hessian = torch.func.hessian(lambda z: 0.5 * (transform(z) ** 2).sum())(x)
        torch.testing.assert_close(hessian.reshape(x.numel(), x.numel()), matrix.mT @ matrix)

    def test_vjp_and_jvp(self, geometry: ParallelBeam | FanBeam) -> None:
        transform = RayTransform(geometry)
        x, t = torch.randn(2, *transform.in_shape, generator=generator(), dtype=torch.float64)
        y = torch.randn(transform.out_shape, generator=generator(), dtype=torch.float64)
        out, back = torch.func.vjp(transform, x)[:2]
        torch.testing.assert_close(back(y)[0], transform.adjoint(y))
        torch.testing.assert_close(torch.func.jvp(transform, (x,), (t,))[1], transform(t))
        torch.testing.assert_close(out, transform(x))

    def test_vmap_over_any_axis_is_one_product(
        self, geometry: ParallelBeam | FanBeam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transform = RayTransform(geometry)
        x = torch.randn(3, *transform.in_shape, 4, generator=generator(), dtype=torch.float64)
        expected = transform(x.movedim(-1, 1))
        matrices = transform._matrix
        seen: list[int] = []
        product = matrices.product

        def counted(rows: Tensor, transposed: bool) -> Tensor:
            seen.append(len(rows))
            return product(rows, transposed)

        monkeypatch.setattr(matrices, "product", counted)
        got = torch.vmap(torch.vmap(transform, in_dims=2, out_dims=0))(x)
        torch.testing.assert_close(got, expected)
        back = torch.func.vjp(transform, x[0, ..., 0])[1]
        torch.testing.assert_close(torch.vmap(back)(expected[0])[0], transform.adjoint(expected[0]))
        assert seen[:3] == [12, 1, 4]
