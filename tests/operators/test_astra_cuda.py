from __future__ import annotations

from typing import Any

import astra
import numpy as np
import pytest
import torch
from torch import Tensor

from operators import RayTransform, VolumeScan, astra_cuda
from operators.astra_cuda import astra_cuda_projector, astra_vectors
from operators.cone_lines import _rays
from operators.testing import adjoint_error
from tests.cases import CONE, CONE_OFFSET, VOLUME_SCANS
from tests.operators.ball import ball_volume
from tests.operators.test_volume_ray_transform import BALL_SCANS

needs_gpu = pytest.mark.skipif(not astra.use_cuda(), reason="no usable CUDA device")
SCANS = {name: scan for name, scan in VOLUME_SCANS.items() if name != "fan-stack"}


class MatrixKernels:
    """ASTRA's projectors over the exact matrix, in its order of axes."""

    def __init__(self, scan: VolumeScan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transform, self.deleted, self.writes = RayTransform(scan), list[int](), True
        monkeypatch.setattr(astra_cuda, "_fault_of_this_machine", lambda: None)
        monkeypatch.setattr(astra, "create_projector", lambda kind, rays, volume: 7)
        monkeypatch.setattr(astra.projector3d, "delete", self.deleted.append)
        monkeypatch.setattr(astra.projector3d, "direct_FP", self.forward)
        monkeypatch.setattr(astra.projector3d, "direct_BP", self.back)

    def forward(self, projector: int, volume: Tensor, *, out: Tensor) -> None:
        assert volume.is_contiguous()
        assert out.is_contiguous()
        if self.writes:
            out.copy_(self.transform(volume).movedim(0, 1))

    def back(self, projector: int, projections: Tensor, *, out: Tensor) -> None:
        assert projections.is_contiguous()
        out.copy_(self.transform.adjoint(projections.movedim(1, 0)))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_axes_are_ours_and_gradients_flow(scan: VolumeScan, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = MatrixKernels(scan, monkeypatch)
    projector = astra_cuda_projector(scan)
    x, y = random(2, *projector.in_shape), random(2, *projector.out_shape)
    torch.testing.assert_close(projector(x), kernels.transform(x))
    torch.testing.assert_close(projector.adjoint(y), kernels.transform.adjoint(y))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((projector(x) * y).sum(), x)
    torch.testing.assert_close(gradient, kernels.transform.adjoint(y))
    del projector
    assert kernels.deleted == [7]


def test_an_output_that_nobody_wrote_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = MatrixKernels(CONE, monkeypatch)
    kernels.writes = False
    with pytest.raises(RuntimeError, match="untouched"):
        astra_cuda_projector(CONE)(random(*CONE.grid.shape))
    kernels.writes = True
    assert astra_cuda_projector(CONE)(torch.full(CONE.grid.shape, torch.nan)).isnan().any()


def test_wrong_kinds_and_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    MatrixKernels(CONE, monkeypatch)
    projector = astra_cuda_projector(CONE)
    with pytest.raises(TypeError, match="float32 only"):
        projector(torch.zeros(CONE.grid.shape, dtype=torch.float64))
    with pytest.raises(ValueError, match="volume must end in the axes"):
        projector(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="projections must end in the axes"):
        projector.adjoint(torch.zeros(3, 3))
    with pytest.raises(TypeError, match="slices of a fan beam"):
        astra_cuda_projector(VOLUME_SCANS["fan-stack"])


def test_without_a_driver_astra_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        pytest.fail("a CUDA projector was made without a driver")

    monkeypatch.setattr(astra, "use_cuda", lambda: False)
    monkeypatch.setattr(astra, "create_projector", forbidden)
    monkeypatch.setattr(astra_cuda, "_fault_of_this_machine", astra_cuda.astra_cuda_fault)
    with pytest.raises(RuntimeError, match=r"no usable CUDA device; try operators\.RayTransform"):
        astra_cuda_projector(CONE)


@pytest.mark.parametrize("cone", [CONE, CONE_OFFSET], ids=["plain", "offset"])
def test_vectors_are_the_mirrored_rays(cone: Any) -> None:
    source, centre, column, row = np.split(astra_vectors(cone), 4, axis=1)
    v = np.arange(cone.n_rows)[:, None, None] - (cone.n_rows - 1) / 2
    u = np.arange(cone.n_detectors)[:, None] - (cone.n_detectors - 1) / 2
    for view, angle in enumerate(cone.angles_rad):
        start, ends = _rays(cone, angle)  # as (z, y, x)
        pixels = centre[view] + v * row[view] + u * column[view]
        np.testing.assert_allclose(pixels.reshape(-1, 3) * [1, -1, 1], ends[::-1].T, atol=1e-12)
        np.testing.assert_allclose(source[view] * [1, -1, 1], start[::-1, 0], atol=1e-12)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", [*BALL_SCANS, "parallel-stack"])
class TestOnTheGpu:
    def scan(self, name: str) -> VolumeScan:
        return BALL_SCANS[name] if name in BALL_SCANS else VOLUME_SCANS[name]

    def test_values_are_the_matrixs(self, name: str) -> None:
        scan = self.scan(name)
        projector, exact = astra_cuda_projector(scan), RayTransform(scan, kernel="line")
        volume = ball_volume(scan.grid).float()
        got, expected = projector(volume.cuda()), exact(volume)
        assert got.is_cuda
        assert float((got.cpu() - expected).norm() / expected.norm()) < 0.05
        torch.testing.assert_close(projector(volume), got.cpu())

    def test_the_adjoint_is_off_by_what_is_known(self, name: str) -> None:
        projector = astra_cuda_projector(self.scan(name))
        x, y = random(*projector.in_shape).abs().cuda(), random(*projector.out_shape).abs().cuda()
        assert adjoint_error(projector, x, y) < 5e-3

    def test_gradients_are_back_projections(self, name: str) -> None:
        projector = astra_cuda_projector(self.scan(name))
        x = random(*projector.in_shape).cuda().requires_grad_()
        y = random(*projector.out_shape).cuda()
        (gradient,) = torch.autograd.grad((projector(x) * y).sum(), x)
        torch.testing.assert_close(gradient, projector.adjoint(y))

    def test_other_streams_wait(self, name: str) -> None:
        projector = astra_cuda_projector(self.scan(name))
        x = random(*projector.in_shape).cuda()
        expected = projector(2 * x)
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            got = projector(2 * x) + 0
        torch.cuda.synchronize()
        torch.testing.assert_close(got, expected)
