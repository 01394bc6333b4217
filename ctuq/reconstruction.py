"""What a reconstruction is: an image with error bars, the evidence that they are right, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctuq.neighbour import Neighbour
from ctuq.processing_step import ProcessingStep
from ctuq.rays import Rays
from ctuq.region import RegionMean, region_by_posterior, region_by_samples
from dip.calibration import Calibration
from dip.posterior import Posterior
from operators import ImageGrid, VolumeGrid


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything needed to repeat a reconstruction and to know whether it is the same one.

    Args:
        scan_name: the scan's name, as in its file.
        input_path: name of the file that was read, without its folder; empty for a scan made in memory.
        input_sha256: of the rays that were read (`Scan.sha256`), in hex.
        config: the resolved configuration, as JSON knows it (dicts, lists, strings, numbers, booleans, None).
        seed: of every random draw.
        versions: of ctuq and what it stands on, by package name.
        start_time: when the work began, with a time zone.
        end_time: when it ended, with a time zone.
        stage_seconds: wall-clock seconds by stage, in the order they ran.
        command: the ctuq command that repeats it; empty for one made from Python.
        notes: warnings, the most important first.
        steps: what was done to the rays before, first things first.
        initial_weights: what the fit started from (`InitialWeights.origin`): name and checksum of a file of weights, or
            checksum of those of a neighbouring row, and what they were trained on; None: random ones.

    Raises:
        ValueError: a time without a time zone.
    """

    scan_name: str
    input_path: str
    input_sha256: str
    config: Mapping[str, object]
    seed: int
    versions: Mapping[str, str]
    start_time: datetime
    end_time: datetime
    stage_seconds: Mapping[str, float]
    command: str
    notes: tuple[str, ...] = ()
    steps: tuple[ProcessingStep, ...] = ()
    initial_weights: Mapping[str, Any] | None = None

    @property
    def start(self) -> str:
        """What the fit started from, in words."""
        if self.initial_weights is None:
            return "random weights"
        file, sha256 = self.initial_weights["file"], self.initial_weights["sha256"]
        return f"weights of {file or self.initial_weights['record']['scan']} (sha256 {sha256[:12]}…)"

    def __post_init__(self) -> None:
        for name in ("start_time", "end_time"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                raise ValueError(f"{name} needs a time zone, got {moment.isoformat()}: try datetime.now(tz=UTC)")


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """An image, or a volume, with error bars.

    Args:
        image: (rows, cols) float32, attenuation in 1/mm; row 0 is the top. Of a volume (slices, rows, cols), as are all
            that follow; slices go up the rotation axis.
        std: (rows, cols) float32, posterior standard deviation in 1/mm.
        standard_error: (rows, cols) float32, Monte Carlo standard error of `std` in 1/mm; zeros where `std` is exact.
        samples: (n, rows, cols) float32, draws from the posterior in 1/mm.
        noise_variance: of a single line integral's own error, noise and representation, dimensionless²; the errors that
            rays of one view share are in `diagnostics`.
        grid: where the pixels are.
        calibration: how the error bars did on the test rays.
        provenance: where it came from.
        diagnostics: single numbers by name: residuals of solvers, `chosen_step`, weights, variances, log evidence.
        fit_steps: (n,) step numbers of the fit's curve.
        fit_loss: (n,) loss on the rays that were fitted.
        holdout_loss: (n,) loss on the choosing rays.
        rays: behind it, with their geometry and noise; None when read from a file that has none.
        posterior: in 1/mm, what to ask for more samples and covariances; None when read from a file.
        neighbour: what the fit of a neighbouring detector row may start from (`fit.init`); None when read from a file.

    Raises:
        ValueError: shapes that do not belong together.
    """

    image: Tensor
    std: Tensor
    standard_error: Tensor
    samples: Tensor
    noise_variance: float
    grid: ImageGrid | VolumeGrid
    calibration: Calibration
    provenance: Provenance
    diagnostics: Mapping[str, float]
    fit_steps: Tensor
    fit_loss: Tensor
    holdout_loss: Tensor
    rays: Rays | None = None
    posterior: Posterior | None = None
    neighbour: Neighbour | None = None

    def __post_init__(self) -> None:
        for name in ("image", "std", "standard_error"):
            shape = tuple(getattr(self, name).shape)
            if shape != self.grid.shape:
                raise ValueError(f"{name} must be of the grid's shape {self.grid.shape}, got {shape}")
        if tuple(self.samples.shape[1:]) != self.grid.shape:
            raise ValueError(f"samples must be {('n', *self.grid.shape)}, got {tuple(self.samples.shape)}")
        lengths = {name: tuple(getattr(self, name).shape) for name in ("fit_steps", "fit_loss", "holdout_loss")}
        if len(set(lengths.values())) > 1 or self.fit_steps.ndim != 1:
            raise ValueError(f"the fit's curve must be three lists of one length, got shapes {lengths}")

    @property
    def plane(self) -> ImageGrid:
        """The grid of the image, or of one slice of a volume."""
        return self.grid.plane if isinstance(self.grid, VolumeGrid) else self.grid

    def region(self, mask: Tensor) -> RegionMean:
        """Mean over the pixels of `mask`, bool of the image's shape, with its deviation and how well that is known.

        From the posterior, exactly or by samples drawn for it; of a result that was read from a file from its samples.

        Raises:
            ValueError: a mask that is empty, not boolean, or not of the image's shape; no posterior and no samples.
        """
        if self.posterior is None:
            return region_by_samples(self.image, self.samples, mask)
        # The same region of the same result is asked the same way.
        generator = torch.Generator().manual_seed(self.provenance.seed)
        return region_by_posterior(self.posterior, mask.to(self.posterior.mean.device), generator=generator)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the NeXus result file, whole or not at all; `ctuq.result_file.read_result` reads it back.

        Returns:
            The path that was written.

        Raises:
            InputError: the file exists and `force` is not given, or its folder is missing or read-only.
        """
        from ctuq.result_file import write_result  # noqa: PLC0415  that module imports this one

        return write_result(self, Path(path), force=force)

    def report(self, path: str | Path) -> Path:
        """Write the single-file HTML report, in place of an older one.

        Returns:
            The path that was written.

        Raises:
            InputError: its folder is missing or read-only.
        """
        from ctuq.report import write_report  # noqa: PLC0415  that module imports this one, and matplotlib

        return write_report(self, Path(path))

    def picture(self, path: str | Path) -> Path:
        """Write a PNG of image and deviation side by side, in place of an older one.

        Returns:
            The path that was written.

        Raises:
            InputError: its folder is missing or read-only.
        """
        from ctuq.picture import write_picture  # noqa: PLC0415  that module imports this one, and matplotlib

        return write_picture(self, Path(path))
