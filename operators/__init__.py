"""Geometry, projectors, filtered back-projection, noise and linear solvers."""

from operators.filtered_back_projection import filtered_back_projection
from operators.geometry import FanBeam, Geometry, ImageGrid, ParallelBeam
from operators.linear_map import GramMap, LinearMap, MatrixMap, StackedMap
from operators.noise import GaussianNoise, Noise, StackedNoise
from operators.nystrom import NystromApproximation, nystrom_approximation
from operators.power_iteration import largest_eigenvalue
from operators.ray_transform import RayTransform
from operators.solvers import Solution, cgls, conjugate_gradients
from operators.volume_geometry import ConeBeam, SliceStack, VolumeGrid, VolumeScan

__all__ = [
    "ConeBeam",
    "FanBeam",
    "GaussianNoise",
    "Geometry",
    "GramMap",
    "ImageGrid",
    "LinearMap",
    "MatrixMap",
    "Noise",
    "NystromApproximation",
    "ParallelBeam",
    "RayTransform",
    "SliceStack",
    "Solution",
    "StackedMap",
    "StackedNoise",
    "VolumeGrid",
    "VolumeScan",
    "cgls",
    "conjugate_gradients",
    "filtered_back_projection",
    "largest_eigenvalue",
    "nystrom_approximation",
]
