"""A plan: which views to measure next, what each promises, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ctuq.reconstruction import Provenance
from ctuq.verdict import Verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class AnglePlan:
    """Views to measure next, the most telling first, so that a scan may stop after any of them.

    Args:
        angles_rad: (n,) float64.
        scores: (n,) float64, each given the views before it, in `unit`.
        order: (n,) int64, when to measure each for the least motor travel from where the motor stood, from 0.
        region_std: (n + 1,) float64, root mean square of the region's deviations in 1/mm, before the first and promised
            after each.
        criterion: a key of `ctuq.criteria.CRITERIA`.
        unit: of the scores.
        candidates_rad: (m,) float64, all views that were considered.
        candidate_scores: (m,) float64, what each promised before any was chosen, in `unit`.
        measured_rad: (k,) float64, the views behind the reconstruction.
        provenance: of the reconstruction that it was made from.
        verdict: on that reconstruction's error bars.
        region_pixels: how many pixels' deviation counts; None: the whole image's.
        seed: of the plan's random draws.
        command: the ctuq command that repeats it; empty for one made from Python.
        notes: why there are fewer views than asked for, and what to do about it.
    """

    angles_rad: Tensor
    scores: Tensor
    order: Tensor
    region_std: Tensor
    criterion: str
    unit: str
    candidates_rad: Tensor
    candidate_scores: Tensor
    measured_rad: Tensor
    provenance: Provenance
    verdict: Verdict
    region_pixels: int | None = None
    seed: int = 0
    command: str = ""
    notes: tuple[str, ...] = ()

    @property
    def scan_name(self) -> str:
        """Name of the scan that is planned for."""
        return self.provenance.scan_name

    @property
    def promised_fall(self) -> Tensor:
        """(n,): by which share the region's deviation is promised to fall, from 0 to 1, after each view."""
        return 1 - self.region_std[1:] / self.region_std[0]

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the angles in degrees, whole or not at all, as the suffix says.

        `.npy`: degrees alone, in the order to measure them, as TomoScan reads its angles. `.csv`, `.json` and `.h5`
        (/entry/plan, NXdata): angle_deg, score and order, the most telling view first.

        Returns:
            The path that was written.

        Raises:
            InputError: another suffix, the file exists and `force` is not given, or its folder is missing or read-only.
        """
        from ctuq.plan_file import write_plan  # noqa: PLC0415  that module imports this one

        return write_plan(self, Path(path), force=force)

    def picture(self, path: str | Path) -> Path:
        """Write a PNG of the views on a circle, in place of an older one.

        Returns:
            The path that was written.

        Raises:
            InputError: its folder is missing or read-only.
        """
        from ctuq.plan_figures import write_plan_picture  # noqa: PLC0415  that module imports this one, and matplotlib

        return write_plan_picture(self, Path(path))

    def report(self, path: str | Path) -> Path:
        """Write the HTML page of the plan, which needs no network, in place of an older one.

        Returns:
            The path that was written.

        Raises:
            InputError: its folder is missing or read-only.
        """
        from ctuq.plan_page import write_plan_page  # noqa: PLC0415  that module imports this one, and plotly

        return write_plan_page(self, Path(path))
