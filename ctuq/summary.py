"""A reconstruction in a few numbers and a few lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ctuq.amount import amount
from ctuq.rays import degrees_of
from ctuq.reconstruction import Reconstruction
from ctuq.region import RegionMean, object_mask, region_by_samples, with_deviation
from ctuq.verdict import Verdict, judge


@dataclass(frozen=True)
class ObjectMean:
    """The mean over the pixels above half of the maximum.

    Args:
        region: that mean, by the samples of the file.
        n_pixels: how many there are.
        kind: pixels, or voxels.
        n_samples: behind its deviation.
        lowest: of the middle nine tenths of those pixels, 1/mm.
        highest: of the same, 1/mm.
    """

    region: RegionMean
    n_pixels: int
    kind: str
    n_samples: int
    lowest: float
    highest: float

    @property
    def value(self) -> str:
        """Mean and deviation."""
        return f"{with_deviation(self.region.mean, self.region.std)} 1/mm"

    @property
    def line(self) -> str:
        """In a short line."""
        return (
            f"mean {self.value} over {self.n_pixels:,} {self.kind} (± by the samples; the region is this image's own)"
        )

    @property
    def sentence(self) -> str:
        """What it is, and what its deviation leaves out."""
        return (
            f"mean over {self.n_pixels:,} {self.kind} above half of the maximum; ± is the deviation of that mean under "
            f"the model (from {self.n_samples} samples, so itself known to "
            f"{100 / math.sqrt(2 * self.n_samples):.0f} %); nine in ten of the single {self.kind} spread from "
            f"{self.lowest:.3g} to {self.highest:.3g}; beam hardening and scatter are not in it"
        )


@dataclass(frozen=True)
class Summary:
    """What to know first.

    Args:
        scan_name: of the scan.
        shape: pixels (row, col), or voxels (slice, row, col).
        pixel_mm: side of a pixel.
        lowest: of the image, 1/mm.
        highest: of the image, 1/mm.
        median_std: of the deviation map, 1/mm.
        largest_std: of the deviation map, 1/mm.
        median_standard_error: of the deviation map, 1/mm; 0 where the deviation is exact.
        n_samples: kept in the file.
        views: which rays are behind it, in words; empty where the file does not say.
        object_mean: of the pixels that are the object; None without samples.
        verdict: on the error bars.
    """

    scan_name: str
    shape: tuple[int, ...]
    pixel_mm: float
    lowest: float
    highest: float
    median_std: float
    largest_std: float
    median_standard_error: float
    n_samples: int
    views: str
    object_mean: ObjectMean | None
    verdict: Verdict

    @property
    def size(self) -> str:
        """Pixels and their side, in words."""
        return f"{' × '.join(map(str, reversed(self.shape)))} {_kind(self.shape)} of {self.pixel_mm:.4g} mm"

    @property
    def values(self) -> str:
        """Range of the image, in words."""
        return f"{self.lowest:.3g} to {self.highest:.3g} 1/mm"

    @property
    def deviations(self) -> str:
        """Median and largest deviation and how well they are known, in words."""
        share = 100 * self.median_standard_error / self.median_std if self.median_std else 0.0
        known = f"known to {share:.1f} %" if share else "computed without sampling"
        return f"median {self.median_std:.3g}, largest {self.largest_std:.3g} 1/mm ({known})"


def summarise(reconstruction: Reconstruction) -> Summary:
    """Take the few numbers from a reconstruction."""
    return Summary(
        scan_name=reconstruction.provenance.scan_name,
        shape=reconstruction.grid.shape,
        pixel_mm=reconstruction.grid.pixel_mm,
        lowest=float(reconstruction.image.min()),
        highest=float(reconstruction.image.max()),
        median_std=_median(reconstruction.std),
        largest_std=float(reconstruction.std.max()),
        median_standard_error=_median(reconstruction.standard_error),
        n_samples=len(reconstruction.samples),
        views=_views(reconstruction),
        object_mean=_object_mean(reconstruction),
        verdict=judge(reconstruction.calibration),
    )


def summary_lines(reconstruction: Reconstruction, written: Sequence[Path] = ()) -> list[str]:
    """A handful of lines for a terminal: what came out, whether to believe it, what to beware of, where it is."""
    summary, start = summarise(reconstruction), reconstruction.provenance.start
    return [
        f"{summary.scan_name}: {summary.size}",
        f"  attenuation   {summary.values}",
        f"  deviation     {summary.deviations}",
        *([f"  object        {summary.object_mean.line}"] if summary.object_mean else []),
        f"  error bars    {summary.verdict.headline}",
        f"                {summary.verdict.sentence}",
        *([f"                {summary.verdict.caveat}"] if summary.verdict.caveat else []),
        *([f"  try           {summary.verdict.next_step}"] if summary.verdict.next_step else []),
        *(f"  warning       {note}" for note in reconstruction.provenance.notes),
        *([f"  started from  {start}"] if reconstruction.provenance.initial_weights else []),
        *(f"  before        {step.name}: {step}" for step in reconstruction.provenance.steps),
        *(f"  wrote         {path}" for path in written),
    ]


def _object_mean(reconstruction: Reconstruction) -> ObjectMean | None:
    """By the samples in any case, so that a result read from its file says the same as a fresh one."""
    image, samples = reconstruction.image, reconstruction.samples
    mask = object_mask(image)
    if not len(samples) or not mask.any():
        return None
    lowest, highest = np.quantile(image[mask].cpu().numpy(), [0.05, 0.95])
    region = region_by_samples(image, samples, mask)
    return ObjectMean(region, int(mask.sum()), _kind(image.shape), len(samples), float(lowest), float(highest))


def _kind(shape: Sequence[int]) -> str:
    return "pixels" if len(shape) == 2 else "voxels"


def _views(reconstruction: Reconstruction) -> str:
    """Which views chose is not in a result; the test views are, and the image is fitted to all."""
    if reconstruction.rays is None:
        return ""
    geometry, tested = reconstruction.rays.geometry, reconstruction.calibration
    pixels = " × ".join(map(str, geometry.sinogram_shape[1:]))
    degrees = degrees_of(geometry.angles_rad)
    whole = "" if tested.whole_views else "single rays of "
    return (
        f"{amount(len(degrees), 'view')} over {degrees.min():.4g} to {degrees.max():.4g}°, all fitted in the end; "
        f"{whole}{amount(tested.n_angles, 'test view')}, predicted by a fit without them; {pixels} detector pixels"
    )


def _median(values: Tensor) -> float:
    return float(values.median())
