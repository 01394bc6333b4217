from __future__ import annotations

import math
from dataclasses import replace

import astra
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import operators.cone_matrix
from operators import ConeBeam, FanBeam, ParallelBeam, RayTransform, SliceStack, VolumeGrid, VolumeScan
from operators.cone_matrix import cone_matrix
from operators.system_matrix import Kernel
from operators.testing import adjoint_error
from tests.cases import CONE, CONE_OFFSET, VOLUME_SCANS
from tests.operators.ball import ball_projections, ball_volume
from tests.operators.test_ray_transform import KERNELS, assert_exact_adjoint, generator, geometries

ASTRAS = 1e-4  # it computes lines in float32
VIEWS = np.linspace(0, 2 * math.pi, 7)[:-1] + 0.01
BALL_SCAN = ConeBeam(
    grid=VolumeGrid(shape=(28, 30, 32), pixel_mm=0.8),
    angles_rad=VIEWS,
    n_rows=40,
    n_detectors=44,
    pitch_mm=1.4,
    source_origin_mm=45.0,
    origin_detector_mm=45.0,
)
BALL_SCANS = {
    "centred": BALL_SCAN,
    "offset": replace(BALL_SCAN, cor_index=24.7, mid_row_index=17.3),
    "oblong": replace(
        BALL_SCAN,
        grid=VolumeGrid(shape=(38, 30, 32), pixel_mm=0.8, slice_mm=0.5, centre_z_mm=1.1),
        row_pitch_mm=1.0,
        n_rows=52,
    ),
}


@st.composite
def volume_scans(draw: st.DrawFn) -> VolumeScan:
    scan = draw(geometries())
    rows, cols = scan.grid.shape
    small = replace(scan.grid, shape=(min(rows, 8), min(cols, 8)))
    scan = scan.with_grid(small)
    slices, slice_mm = draw(st.integers(1, 5)), draw(st.none() | st.floats(0.1, 3))
    if isinstance(scan, ParallelBeam) or draw(st.booleans()):
        return SliceStack(scan=scan, n_slices=slices, slice_mm=slice_mm)
    return ConeBeam(
        grid=VolumeGrid(
            shape=(slices, *small.shape),
            pixel_mm=small.pixel_mm,
            slice_mm=slice_mm,
            centre_z_mm=draw(st.floats(-2, 2)),
        ),
        angles_rad=scan.angles_rad,
        n_rows=draw(st.integers(1, 6)),
        n_detectors=scan.n_detectors,
        pitch_mm=scan.pitch_mm,
        source_origin_mm=scan.source_origin_mm,
        origin_detector_mm=scan.origin_detector_mm,
        cor_index=scan.cor_index,
        row_pitch_mm=draw(st.none() | st.floats(0.1, 3)),
        mid_row_index=draw(st.none() | st.floats(-2, 7)),
    )


@settings(max_examples=60, deadline=None)
@given(scan=volume_scans(), kernel=st.sampled_from(KERNELS), seed=st.integers(0, 2**31))
def test_every_volume_scan_has_an_exact_adjoint(scan: VolumeScan, kernel: Kernel, seed: int) -> None:
    assert_exact_adjoint(RayTransform(scan, kernel=kernel), seed)


@settings(max_examples=40, deadline=None)
@given(scan=volume_scans(), kernel=st.sampled_from(KERNELS))
def test_no_ray_is_longer_than_the_volume_and_none_is_negative(scan: VolumeScan, kernel: Kernel) -> None:
    matrix = RayTransform(scan, kernel=kernel).matrix()
    assert (matrix.data >= 0).all()
    longest = math.hypot(*(scan.grid.extent_mm if isinstance(scan, ConeBeam) else scan.grid.extent_mm[1:]))
    if kernel == "line" or isinstance(scan, SliceStack):
        assert matrix.sum(axis=1).max() <= longest * (1 + 1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", BALL_SCANS)
def test_line_integrals_of_a_ball(name: str, kernel: Kernel) -> None:
    cone = BALL_SCANS[name]
    projections, expected = RayTransform(cone, kernel=kernel)(ball_volume(cone.grid)), ball_projections(cone)
    middle = expected > 0.9 * expected.max()
    assert float(projections[middle].sum() / expected[middle].sum()) == pytest.approx(1, abs=0.004)
    assert float((projections - expected).norm() / expected.norm()) < (0.035 if kernel == "strip" else 0.045)


def subdivided(cone: ConeBeam, fine: int) -> ConeBeam:
    """The same detector with pixels `fine` times as small either way."""
    return replace(
        cone,
        n_rows=cone.n_rows * fine,
        n_detectors=cone.n_detectors * fine,
        pitch_mm=cone.pitch_mm / fine,
        row_pitch_mm=cone.row_spacing_mm / fine,
        cor_index=cone.fan.axis_index * fine + (fine - 1) / 2,
        mid_row_index=cone.level_index * fine + (fine - 1) / 2,
    )


@pytest.mark.parametrize(("cone", "allowed"), [(CONE, 0.03), (CONE_OFFSET, 0.06)], ids=["narrow", "wide-offset"])
def test_strip_is_the_mean_of_many_lines(cone: ConeBeam, allowed: float) -> None:
    fine, (angles, rows, detectors) = 12, cone.sinogram_shape
    lines = RayTransform(subdivided(cone, fine), kernel="line").matrix().toarray()
    mean = lines.reshape(angles, rows, fine, detectors, fine, -1).mean((2, 4)).reshape(angles * rows * detectors, -1)
    strip = RayTransform(cone).matrix().toarray()
    assert np.linalg.norm(strip - mean) < allowed * np.linalg.norm(mean)
    np.testing.assert_allclose(strip.sum(), mean.sum(), rtol=0.01)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_the_same_at_every_height_is_the_fan_times_the_slopes(kernel: Kernel) -> None:
    cone = replace(CONE_OFFSET, grid=VolumeGrid(shape=(40, 9, 8), pixel_mm=0.7, slice_mm=1.1))
    plane = torch.rand(cone.grid.plane.shape, generator=generator(), dtype=torch.float64)
    fan = RayTransform(cone.fan, kernel=kernel)(plane)
    projections = RayTransform(cone, kernel=kernel)(plane.expand(cone.grid.shape))
    torch.testing.assert_close(projections, fan[:, None] * cone.ray_slopes(), rtol=ASTRAS, atol=ASTRAS)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_middle_row_sees_the_middle_slice_as_the_fan_does(kernel: Kernel) -> None:
    # A row within the shadow of one slice; the views at right angles have a ray along a plane between voxels.
    cone = replace(CONE, pitch_mm=1.4).select([1, 2])
    volume = torch.randn(cone.grid.shape, generator=generator(), dtype=torch.float64)
    seen = RayTransform(cone, kernel=kernel)(volume)[:, 3]
    torch.testing.assert_close(seen, RayTransform(cone.fan, kernel=kernel)(volume[3]), rtol=ASTRAS, atol=ASTRAS)


def test_the_middle_row_is_astras_fan() -> None:
    cone = CONE.select([1, 2])
    volume = torch.randn(cone.grid.shape, generator=generator(), dtype=torch.float64)
    plane = astra.create_vol_geom(8, 8)
    fan = astra.create_proj_geom("fanflat", 2.0, 9, np.asarray(cone.angles_rad), 20.0, 15.0)
    projector = astra.create_projector("line_fanflat", fan, plane)
    matrix = astra.projector.matrix(projector)
    expected = astra.matrix.get(matrix) @ volume[3].numpy().reshape(-1)
    astra.matrix.delete(matrix)
    astra.projector.delete(projector)
    seen = RayTransform(cone, kernel="line")(volume)[:, 3].numpy().reshape(-1)
    np.testing.assert_allclose(seen, expected, rtol=ASTRAS, atol=ASTRAS)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scan", VOLUME_SCANS.values(), ids=VOLUME_SCANS)
def test_products_are_those_of_the_matrix(scan: VolumeScan, kernel: Kernel) -> None:
    transform = RayTransform(scan, kernel=kernel)
    x = torch.randn(2, *transform.in_shape, generator=generator(), dtype=torch.float64)
    dense = torch.from_numpy(transform.matrix().toarray())
    torch.testing.assert_close(transform(x).flatten(1), x.flatten(1) @ dense.mT)


@pytest.mark.parametrize("scan", VOLUME_SCANS.values(), ids=VOLUME_SCANS)
def test_select_is_slicing(scan: VolumeScan) -> None:
    whole = RayTransform(scan)
    part = whole.select([1, 0, -1])
    x = torch.randn(2, *whole.in_shape, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(part(x), whole(x)[:, [1, 0, -1]])
    assert part.geometry == scan.select([1, 0, -1])
    torch.testing.assert_close(RayTransform(part.geometry)(x), part(x))


@pytest.mark.parametrize("kind", ["parallel-stack", "fan-stack"])
def test_a_stack_is_its_slices(kind: str) -> None:
    stack = VOLUME_SCANS[kind]
    assert isinstance(stack, SliceStack)
    x = torch.randn(3, *stack.grid.shape, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(RayTransform(stack)(x), RayTransform(stack.scan)(x).movedim(1, 2))


@pytest.mark.parametrize("kernel", KERNELS)
def test_voxels_level_with_the_source_cast_no_shadow(kernel: Kernel) -> None:
    close = replace(CONE, source_origin_mm=4.2, angles_rad=(0.0,), n_rows=9, pitch_mm=3.0)
    assert np.isfinite(RayTransform(close, kernel=kernel).matrix().data).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_scans_larger_than_the_memory_are_refused_at_the_first_view(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(view.n_entries for view in cone_matrix(CONE, kernel=kernel)._views) * 28
    monkeypatch.setattr(operators.cone_matrix, "_memory_bytes", lambda: needed // 2)
    with pytest.raises(MemoryError, match="try at most 1 views"):
        cone_matrix(CONE, kernel=kernel)
    monkeypatch.undo()
    assert cone_matrix(CONE, kernel=kernel).shape == (CONE.n_angles * 63, 7 * 64)


def test_wrong_shapes_and_kinds_are_refused() -> None:
    transform = RayTransform(CONE)
    with pytest.raises(ValueError, match="image must end in the axes"):
        transform(torch.zeros(8, 8))
    with pytest.raises(ValueError, match="sinogram must end in the axes"):
        transform.adjoint(torch.zeros(4, 9, 7))
    with pytest.raises(ValueError, match="kernel must be"):
        RayTransform(CONE, kernel="cubic")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float32 or float64"):
        transform(torch.zeros(CONE.grid.shape, dtype=torch.bfloat16))


def test_autocast_leaves_the_projection_in_float32() -> None:
    transform, x = RayTransform(CONE), torch.randn(CONE.grid.shape, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(x)
    assert torch.equal(inside, transform(x))


@pytest.mark.parametrize("name", ["cone", "cone-offset", "parallel-stack"])
class TestDerivatives:
    def test_autograd_to_second_order(self, name: str) -> None:
        scan = VOLUME_SCANS[name]
        transform = RayTransform(scan.with_grid(VolumeGrid(shape=(2, 3, 2), pixel_mm=2.0)).select([0, 2]))
        x = torch.randn(2, 2, 3, 2, generator=generator(), dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(transform, x, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(lambda z: transform(z).sin(), x)

    def test_vjp_jvp_and_vmap(self, name: str) -> None:
        transform = RayTransform(VOLUME_SCANS[name])
        x, t = torch.randn(2, *transform.in_shape, generator=generator(), dtype=torch.float64)
        y = torch.randn(3, *transform.out_shape, generator=generator(), dtype=torch.float64)
        out, back = torch.func.vjp(transform, x)[:2]
        torch.testing.assert_close(out, transform(x))
        torch.testing.assert_close(back(y[0])[0], transform.adjoint(y[0]))
        torch.testing.assert_close(torch.func.jvp(transform, (x,), (t,))[1], transform(t))
        torch.testing.assert_close(torch.vmap(back)(y)[0], transform.adjoint(y))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [*VOLUME_SCANS, "plane"])
def test_matrices_follow_their_input_to_the_gpu(name: str) -> None:
    transform = RayTransform(CONE.fan if name == "plane" else VOLUME_SCANS[name])
    for dtype, allowed in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        x = torch.randn(3, *transform.in_shape, generator=generator(), dtype=dtype)
        y = torch.randn(3, *transform.out_shape, generator=generator(), dtype=dtype)
        forward, back = transform(x.cuda()), transform.adjoint(y.cuda())
        assert forward.is_cuda
        assert back.is_cuda
        assert _relative(forward.cpu(), transform(x)) < allowed
        assert _relative(back.cpu(), transform.adjoint(y)) < allowed
        assert adjoint_error(transform, x.cuda(), y.cuda()) < (1e-6 if dtype == torch.float32 else 1e-12)
    single = x[0].cuda().requires_grad_()
    (gradient,) = torch.autograd.grad(transform(single).square().sum(), single)
    assert _relative(gradient.cpu(), 2 * transform.adjoint(transform(x[0]))) < 1e-10


def _relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def test_fans_and_parallel_beams_stay_as_they_were() -> None:
    assert isinstance(CONE.fan, FanBeam)
    assert RayTransform(CONE.fan).in_shape == (8, 8)
