"""A measurement of a slice or a volume: line integrals, where they were taken, and how noisy they are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctuq.errors import InputError
from ctuq.masked_rays import MASKED_FROM, MASKED_VARIANCE, interpolated
from ctuq.processing_step import ProcessingStep
from operators import ConeBeam, Geometry, ImageGrid, VolumeGrid

ScanGeometry: TypeAlias = Geometry | ConeBeam
"""Where a scan's rays run: of a slice, or of a volume."""

_Grid = TypeVar("_Grid", ImageGrid, VolumeGrid)


@dataclass(frozen=True, init=False, eq=False)
class Scan:
    """A sinogram with its geometry and, where it is known, its noise.

    Args:
        sinogram: (angle, detector) line integrals, of a cone beam (angle, row, detector), dimensionless; a tensor
            (stays on its device) or anything NumPy understands. Kept as float32.
        geometry: rays and image grid; its `sinogram_shape` must be the sinogram's.
        noise_variance: variance of the line integrals, one number or one a ray, shaped as the sinogram; the ratios
            between rays are used, the scale is learned; None: all alike. Rays of more than `MASKED_FROM` times the
            harmonic mean are masked: their values are not looked at.
        name: what to call it in files and messages; seeds derive from it.
        file_name: of the file it was read from, without its folder; empty for a scan made in memory.
        steps: what was done to the rays already, first things first.
        noise_stated: whether the ratios between variances are known, and not only which rays are masked; without a
            variance for every ray they are not.

    Raises:
        InputError: shapes that disagree, NaN or infinite line integrals, a variance that is not positive and finite.
    """

    sinogram: Tensor
    geometry: ScanGeometry
    noise_variance: float | Tensor | None
    name: str
    file_name: str
    steps: tuple[ProcessingStep, ...]
    noise_stated: bool

    def __init__(
        self,
        sinogram: Tensor | ArrayLike,
        geometry: ScanGeometry,
        noise_variance: float | Tensor | ArrayLike | None = None,
        name: str = "scan",
        *,
        file_name: str = "",
        steps: tuple[ProcessingStep, ...] = (),
        noise_stated: bool = True,
    ) -> None:
        values = _as_float32(sinogram)
        _check_sinogram(values, geometry.sinogram_shape)
        variance = None if noise_variance is None else _checked_variance(noise_variance, values)
        # The dataclass is frozen, and what comes in is wider than what is kept.
        object.__setattr__(self, "sinogram", values)
        object.__setattr__(self, "geometry", geometry)
        object.__setattr__(self, "noise_variance", variance)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "file_name", file_name)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "noise_stated", isinstance(variance, Tensor) and noise_stated)

    @property
    def planar(self) -> Geometry:
        """The geometry of a scan of one slice.

        Raises:
            InputError: it is a scan of a volume.
        """
        return planar(self.geometry)

    @property
    def masked(self) -> Tensor:
        """Shaped as the sinogram, bool: rays that say nothing, by their variance."""
        if not isinstance(self.noise_variance, Tensor):
            return torch.zeros(self.sinogram.shape, dtype=torch.bool, device=self.sinogram.device)
        variance = self.noise_variance.double()
        return variance * variance.reciprocal().mean() > MASKED_FROM

    def with_masked(self, rays: Tensor) -> "Scan":
        """The scan with these rays masked as well, bool shaped as the sinogram, and all that are interpolated.

        Raises:
            InputError: not one ray is left.
        """
        masked = self.masked | rays.to(self.sinogram.device)
        if masked.all():
            raise InputError("expected rays that can be used, but every one is masked: is this the right row?")
        if not masked.any():
            return self
        given = torch.as_tensor(1.0 if self.noise_variance is None else self.noise_variance, device=masked.device)
        variance = given.double().expand(masked.shape)
        largest = MASKED_VARIANCE / float(variance[~masked].reciprocal().mean())
        variance = torch.where(masked, largest, variance)
        return replace(self, sinogram=interpolated(self.sinogram, ~masked), noise_variance=variance)

    @property
    def sha256(self) -> str:
        """Hex digest of the rays, their values and their noise; neither the name nor the image grid changes it."""
        speck_mm = self.geometry.pitch_mm * 1e-6
        rays: ScanGeometry
        if isinstance(self.geometry, ConeBeam):
            rays = self.geometry.with_grid(VolumeGrid(shape=(1, 1, 1), pixel_mm=speck_mm))
        else:
            rays = self.geometry.with_grid(ImageGrid(shape=(1, 1), pixel_mm=speck_mm))
        digest = hashlib.sha256(repr(rays).encode())
        for part in (self.sinogram, self.noise_variance):
            content = part.cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()

    def binned(self, factor: int) -> "Scan":
        """The scan with every `factor` neighbouring detector pixels averaged, and their variance with them.

        Those of a volume are averaged in squares of `factor` rows and columns. A remainder at the far end of the
        detector is dropped; rays count as independent. Masked rays are interpolated
        from their neighbours; what is averaged of them is worth as much less as there are of them.

        Raises:
            InputError: the factor is below 1 or leaves no detector.
        """
        narrowest = min(self.geometry.sinogram_shape[1:])
        if not 1 <= factor <= narrowest:
            raise InputError(
                f"expected a detector bin from 1 to the scan's {narrowest} detector pixels, "
                f"got {factor}: choose a smaller scan.detector_bin"
            )
        if factor == 1:
            return self
        sinogram, variance = self.sinogram, self.noise_variance
        if isinstance(variance, Tensor):
            known = ~self.masked
            sinogram, variance = interpolated(sinogram, known), _bin_variance(variance, known, factor)
        elif variance is not None:
            variance = variance / factor ** (sinogram.ndim - 1)
        sinogram = _bin_means(sinogram, factor)
        return replace(self, sinogram=sinogram, geometry=self.geometry.binned(factor), noise_variance=variance)

    def every(self, step: int) -> "Scan":
        """The scan with views 0, step, 2·step, … only.

        Raises:
            InputError: the step is below 1.
        """
        if step < 1:
            raise InputError(f"expected an angle step of at least 1, got {step}: 1 keeps every view, 2 every other")
        return self.select(range(0, self.geometry.n_angles, step))

    def select(self, views: Sequence[int]) -> "Scan":
        """The scan with these views only, in this order."""
        kept = torch.as_tensor(list(views), dtype=torch.int64, device=self.sinogram.device)
        variance = self.noise_variance[kept] if isinstance(self.noise_variance, Tensor) else self.noise_variance
        geometry = self.geometry.select(list(views))
        return replace(self, sinogram=self.sinogram[kept], geometry=geometry, noise_variance=variance)

    def on_grid(self, grid: ImageGrid | VolumeGrid) -> "Scan":
        """The same rays, to be reconstructed on another grid: an image's, or a volume's for those of a volume.

        Raises:
            InputError: the grid reaches the source, or is of the other kind.
        """
        geometry: ScanGeometry
        try:
            if isinstance(self.geometry, ConeBeam):
                geometry = self.geometry.with_grid(_require(grid, VolumeGrid))
            else:
                geometry = self.geometry.with_grid(_require(grid, ImageGrid))
        except ValueError as error:
            raise InputError(str(error)) from error
        return replace(self, geometry=geometry)


def planar(geometry: ScanGeometry) -> Geometry:
    """The geometry, where it is of one slice.

    Raises:
        InputError: it is a volume's.
    """
    if isinstance(geometry, ConeBeam):
        raise InputError(
            f"expected a scan of one slice, parallel or fan beam, got a cone beam's volume of "
            f"{' × '.join(map(str, geometry.grid.shape))} voxels: ctuq check and ctuq reconstruct take volumes"
        )
    return geometry


def _require(grid: ImageGrid | VolumeGrid, kind: type[_Grid]) -> _Grid:
    if not isinstance(grid, kind):
        raise InputError(f"expected a grid as the geometry has one, got {grid}: give a {kind.__name__}")
    return grid


def _as_float32(values: Tensor | ArrayLike) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to(torch.float32)
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the check then names
            return torch.tensor(np.asarray(values).astype(np.float32))
    except (TypeError, ValueError) as error:
        raise InputError(f"expected an array of numbers, got {type(values).__name__} ({error})") from error


def _check_sinogram(sinogram: Tensor, expected: tuple[int, ...]) -> None:
    axes, hint = "(angle, detector)", "give one row an angle, one column a detector pixel"
    if len(expected) == 3:
        axes, hint = "(angle, detector row, detector)", "give one image an angle, as the detector saw it"
    if tuple(sinogram.shape) != expected:
        swapped = tuple(sinogram.shape) == expected[::-1]
        hint = "transpose it" if swapped else hint
        raise InputError(
            f"expected a sinogram of shape {axes} = {expected}, as the geometry has it, "
            f"got {tuple(sinogram.shape)}: {hint}"
        )
    problems = []
    for kind, bad, cure in (
        ("NaN", sinogram.isnan(), "mask or interpolate those rays, or drop those views, before ctuq reads them"),
        (
            "infinite",
            sinogram.isinf(),
            "-log of a zero count is infinite: correct dead pixels and clip counts at 1 before taking the logarithm",
        ),
    ):
        n_bad = int(bad.sum())
        if n_bad:
            view, *pixel = bad.nonzero()[0].tolist()
            problems.append(
                f"expected finite line integrals, got {n_bad} {kind} of {sinogram.numel()} values "
                f"(the first at view {view}, detector pixel {', '.join(map(str, pixel))}): {cure}"
            )
    if problems:
        raise InputError("\n".join(problems))


def _checked_variance(variance: float | Tensor | ArrayLike, sinogram: Tensor) -> float | Tensor:
    values = _as_float32(variance).to(sinogram.device)
    if values.ndim and values.shape != sinogram.shape:
        raise InputError(
            f"expected a noise variance of one number or of the sinogram's shape {tuple(sinogram.shape)}, "
            f"got shape {tuple(values.shape)}: leave it out to have the noise learned from the data"
        )
    n_bad = int((~(values.isfinite() & (values > 0))).sum())
    if n_bad:
        raise InputError(
            f"expected positive, finite noise variances, got {n_bad} of {values.numel()} that are not "
            f"(smallest {float(values.min()):g}): give a ray without information a large variance, not zero"
        )
    # A number stays the double that it was given as; only arrays are kept in the sinogram's precision.
    return values if values.ndim else float(torch.as_tensor(variance, dtype=torch.float64))


def _bin_means(values: Tensor, factor: int) -> Tensor:
    """Over `factor` neighbours along every axis but the views'; a remainder is dropped."""
    for axis in range(1, values.ndim):
        n_bins = values.shape[axis] // factor
        kept = values.narrow(axis, 0, n_bins * factor)
        # Summed in float64, so that binning by 4 and twice by 2 agree to the last float32 digit but one.
        values = (
            kept.reshape(*kept.shape[:axis], n_bins, factor, *kept.shape[axis + 1 :])
            .to(torch.float64)
            .mean(dim=axis + 1)
        )
    return values


def _bin_variance(variance: Tensor, known: Tensor, factor: int) -> Tensor:
    """Of the mean of a bin's known rays, times the share that is not; a bin without any stays masked."""
    n_rays = factor ** (variance.ndim - 1)
    n_known = _bin_means(known.double(), factor) * n_rays
    total = _bin_means(torch.where(known, variance, 0.0), factor) * n_rays
    worst = _bin_means(variance, factor)
    return torch.where(n_known > 0, total * n_rays / n_known.clamp(min=1) ** 3, worst)
