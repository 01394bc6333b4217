"""Geometry, projectors, filtered back-projection, noise and linear solvers."""

from operators.filtered_back_projection import filtered_back_projection
from operators.geometry import FanBeam, Geometry, ImageGrid, ParallelBeam
from operators.linear_map import GramMap, LinearMap, MatrixMap, StackedMap
from operators.noise import GaussianNoise, Noise, StackedNoise
from operators.nystrom import NystromApproximation, nystrom_approximation, nystrom_from_products
from operators.power_iteration import largest_eigenvalue
from operators.ray_transform import RayTransform
from operators.solvers import Iterate, Solution, cgls, conjugate_gradient_iterate, conjugate_gradients
from operators.volume_geometry import ConeBeam, SliceStack, VolumeGrid, VolumeScan

__all__ = [
    "ConeBeam",
    "FanBeam",
    "GaussianNoise",
    "Geometry",
    "GramMap",
    "ImageGrid",
    "Iterate",
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
    "conjugate_gradient_iterate",
    "conjugate_gradients",
    "filtered_back_projection",
    "largest_eigenvalue",
    "nystrom_approximation",
    "nystrom_from_products",
]
