"""What images the linearised network holds for possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dip.weight_prior import PriorKind


@dataclass(frozen=True, kw_only=True)
class PriorSettings:
    """What images the linearised network holds for possible.

    Args:
        kind: which weights share a variance, see `weight_groups`; or "tangent-kernel", for images small enough for a
            dense posterior, see `TangentKernelModel`.
        pixel_floor: least standard deviation of a single pixel beside the network's images, as a share of the image's
            scale, so that no pixel is ever certain.
        slope_floor: least slope of a sigmoid output, see `NetworkJacobian`.

    Raises:
        ValueError: numbers out of range.
    """

    kind: Literal[PriorKind, "tangent-kernel"] = "isotropic"
    pixel_floor: float = 3e-3
    slope_floor: float = 0.02

    def __post_init__(self) -> None:
        if not self.pixel_floor > 0:
            raise ValueError(f"pixel_floor must be positive, got {self.pixel_floor}")
        if not self.slope_floor >= 0:
            raise ValueError(f"slope_floor must be 0 or more, got {self.slope_floor}")
        kinds = (*get_args(PriorKind), "tangent-kernel")
        if self.kind not in kinds:
            raise ValueError(f"kind must be one of {kinds}, got {self.kind!r}")

    @property
    def floors(self) -> dict[str, float]:
        """Least variance by name."""
        return {"pixels": self.pixel_floor**2}
