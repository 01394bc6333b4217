"""Every kind of linear map, small; one more line here and all checks of linear maps apply to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dip import (
    MaternPrior,
    NetworkJacobian,
    NetworkPrior,
    PriorKind,
    UNet,
    UNetSettings,
    WeightRoot,
    WhitenedRays,
    length_name,
    weight_groups,
)
from operators import (
    ConeBeam,
    FanBeam,
    GaussianNoise,
    GramMap,
    ImageGrid,
    LinearMap,
    MatrixMap,
    ParallelBeam,
    RayTransform,
    SliceStack,
    StackedMap,
    VolumeGrid,
    VolumeScan,
)

SQUARE = ImageGrid(shape=(12, 12), pixel_mm=0.5)
OBLONG = ImageGrid(shape=(9, 14), pixel_mm=0.7)
ANGLES = (0.0, 0.3, 1.1, math.pi / 2, 2.8, 5.0)
PARALLEL = ParallelBeam(grid=SQUARE, angles_rad=ANGLES, n_detectors=17, pitch_mm=0.5)
PARALLEL_OFFSET = ParallelBeam(grid=OBLONG, angles_rad=ANGLES, n_detectors=15, pitch_mm=0.9, cor_index=5.3)
FAN = FanBeam(
    grid=SQUARE, angles_rad=ANGLES, n_detectors=20, pitch_mm=0.8, source_origin_mm=20.0, origin_detector_mm=15.0
)
FAN_OFFSET = FanBeam(
    grid=OBLONG,
    angles_rad=ANGLES,
    n_detectors=20,
    pitch_mm=0.8,
    source_origin_mm=15.0,
    origin_detector_mm=0.0,
    cor_index=11.8,
)
GEOMETRIES: dict[str, ParallelBeam | FanBeam] = {
    "parallel": PARALLEL,
    "parallel-offset": PARALLEL_OFFSET,
    "fan": FAN,
    "fan-offset": FAN_OFFSET,
}
BOX = VolumeGrid(shape=(5, 9, 8), pixel_mm=0.7, slice_mm=0.9, centre_z_mm=0.4)
CONE = ConeBeam(
    grid=VolumeGrid(shape=(7, 8, 8)),
    angles_rad=ANGLES[:4],
    n_rows=7,
    n_detectors=9,
    pitch_mm=2.0,
    source_origin_mm=20.0,
    origin_detector_mm=15.0,
)
CONE_OFFSET = ConeBeam(
    grid=BOX,
    angles_rad=ANGLES[1:5],
    n_rows=6,
    n_detectors=11,
    pitch_mm=0.8,
    source_origin_mm=8.0,
    origin_detector_mm=0.0,
    cor_index=6.2,
    row_pitch_mm=1.3,
    mid_row_index=1.9,
)
VOLUME_SCANS: dict[str, VolumeScan] = {
    "cone": CONE,
    "cone-offset": CONE_OFFSET,
    "parallel-stack": SliceStack(scan=PARALLEL_OFFSET.select([0, 2, 3]), n_slices=4),
    "fan-stack": SliceStack(scan=FAN.select([1, 4]), n_slices=3, slice_mm=1.5),
}


def _matrix_map(dtype: torch.dtype) -> MatrixMap:
    matrix = torch.randn(6, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return MatrixMap(matrix, in_shape=(2, 4), out_shape=(3, 2))


SMALL_NETWORK = UNetSettings(channels=(2, 3), skip_channels=(1,))


def network_jacobian(
    dtype: torch.dtype = torch.float64,
    *,
    shape: tuple[int, ...] = (5, 7),
    settings: UNetSettings = SMALL_NETWORK,
    batch: int = 4,
) -> NetworkJacobian:
    """Of a small network at its initial weights, for a random input; the same for every dtype but for rounding."""
    generator = torch.Generator().manual_seed(2)
    network = UNet(settings, generator=generator, dimensions=2 if len(shape) == 2 else 3).to(dtype)
    network_input = torch.randn(1, 1, *shape, generator=generator)
    return NetworkJacobian(network, network_input.to(dtype), batch=batch)


class _Residual(nn.Module):
    """Convolutions with and without stride around which the input is carried, with normalisations of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.around = nn.Conv2d(2, 4, 1, stride=2)
        self.outer = nn.Sequential(nn.GroupNorm(2, 4), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.outer(self.inner(x) + self.around(x)))
        return logits


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5), nn.Tanh(), nn.Dropout(), nn.Linear(5, 3)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, dilation=2), nn.LayerNorm([4, 2, 2]), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4, 3),
    ),
    "volumes": lambda: nn.Sequential(
        nn.Unflatten(2, (2, 3)), nn.Conv3d(2, 4, 2, stride=(1, 1, 2), padding=(0, 1, 1), dilation=(1, 2, 1)),
        nn.GroupNorm(2, 4), nn.LeakyReLU(), nn.AvgPool3d((1, 1, 2)), nn.Flatten(), nn.Linear(24, 3),
    ),
    "residual": _Residual,
}  # fmt: skip


def classifier_jacobian(
    name: str = "residual", dtype: torch.dtype = torch.float64, *, n_inputs: int = 3
) -> NetworkJacobian:
    """Of a small network from images (2, 6, 6) to three logits, with normalisations that do something."""
    generator = torch.Generator().manual_seed(5)
    network = CLASSIFIERS[name]().to(dtype).eval()
    with torch.no_grad():
        for value in (*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())):
            value.copy_(
                torch.rand(value.shape, generator=generator) + torch.randn(value.shape, generator=generator) / 2
            )
            if value.ndim == 1:
                value.abs_().add_(0.1)  # variances are positive
    inputs = torch.randn(n_inputs, 2, 6, 6, generator=generator)
    return NetworkJacobian(network, inputs.to(dtype), batch=4)


def network_prior(
    dtype: torch.dtype = torch.float64, *, shape: tuple[int, ...] = (5, 7), kind: PriorKind = "block"
) -> NetworkPrior:
    """Every group with a variance and a length of its own, pixels with another."""
    jacobian = network_jacobian(dtype, shape=shape)
    sensitivity = torch.rand(jacobian.in_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    groups = weight_groups(jacobian, kind, sensitivity=sensitivity)
    variances = {name: 0.2 + 0.3 * number for number, name in enumerate(groups)}
    lengths = {length_name(name): 0.5 + 0.7 * number for number, name in enumerate(groups)}
    return NetworkPrior(jacobian, WeightRoot(groups, variances | lengths, jacobian.weights()), 0.3)


def whitened_rays(dtype: torch.dtype) -> WhitenedRays:
    """Of a network, with errors that rays of one view share."""
    rays = ParallelBeam(grid=ImageGrid(shape=(5, 7)), angles_rad=(0.2, 1.5), n_detectors=6)
    variance = torch.rand(2, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.1
    noise = GaussianNoise(variance, torch.full((6, 6), 0.3, dtype=torch.float64))
    return WhitenedRays(RayTransform(rays), network_prior(dtype), noise, dtype)


LINEAR_MAPS: dict[str, Callable[[torch.dtype], LinearMap]] = {
    "matrix": _matrix_map,
    "parallel-line": lambda _: RayTransform(PARALLEL, kernel="line"),
    "parallel-strip": lambda _: RayTransform(PARALLEL),
    "parallel-offset-line": lambda _: RayTransform(PARALLEL_OFFSET, kernel="line"),
    "parallel-offset-strip": lambda _: RayTransform(PARALLEL_OFFSET),
    "fan-line": lambda _: RayTransform(FAN, kernel="line"),
    "fan-strip": lambda _: RayTransform(FAN),
    "fan-offset-line": lambda _: RayTransform(FAN_OFFSET, kernel="line"),
    "fan-offset-strip": lambda _: RayTransform(FAN_OFFSET),
    "selected-views": lambda _: RayTransform(FAN_OFFSET).select([4, 0, 4]),
    "cone-strip": lambda _: RayTransform(CONE),
    "cone-offset-strip": lambda _: RayTransform(CONE_OFFSET),
    "parallel-stack": lambda _: RayTransform(VOLUME_SCANS["parallel-stack"]),
    "fan-stack": lambda _: RayTransform(VOLUME_SCANS["fan-stack"]),
    "cone-line": lambda _: RayTransform(CONE, kernel="line"),
    "cone-offset-line": lambda _: RayTransform(CONE_OFFSET, kernel="line"),
    "selected-cone-views": lambda _: RayTransform(CONE_OFFSET).select([3, 0, 3]),
    "selected-stack-views": lambda _: RayTransform(VOLUME_SCANS["fan-stack"]).select([1]),
    "network-jacobian": network_jacobian,
    "classifier-jacobian": lambda dtype: classifier_jacobian(dtype=dtype),
    "network-jacobian-volume": lambda dtype: network_jacobian(dtype, shape=(3, 4, 5)),
    "network-prior": network_prior,
    "network-prior-volume": lambda dtype: network_prior(dtype, shape=(3, 4, 5)),
    "network-prior-filters": lambda dtype: network_prior(dtype, kind="filter-gp"),
    "network-prior-g": lambda dtype: network_prior(dtype, kind="g-prior"),
    "matern-prior": lambda _: MaternPrior(OBLONG, smoothness=1.5, length_mm=1.1, variance=2.0),
    "whitened-rays": whitened_rays,
    "gram": lambda dtype: GramMap(_matrix_map(dtype), shift=0.7),
    "gram-diagonal": lambda dtype: GramMap(_matrix_map(dtype), shift=torch.arange(6, dtype=dtype).reshape(3, 2)),
    "stacked": lambda _: StackedMap(RayTransform(PARALLEL), RayTransform(FAN)),
}
