"""What a detector row hands on to the next of a run: weights to start from, and which rays are held out of both."""

from __future__ import annotations

from dataclasses import dataclass

from ctuq.errors import InputError
from ctuq.initial_weights import InitialWeights, shape_of
from ctuq.scan import Scan
from dip import Fit, Holdout


@dataclass(frozen=True, eq=False)
class Neighbour:
    """Weights of a fit together with its hold-out: neighbouring rows show nearly the same, so theirs must be one.

    Were other views held out of the next row, its start would have seen nearly what it is to be judged by.

    Args:
        weights: of each network, trained on no ray that judges, and on none by which that network's steps are chosen.
        holdout: that of the first row, from which all rows since have started.
        angles_rad: of the views.
    """

    weights: InitialWeights
    holdout: Holdout
    angles_rad: tuple[float, ...]

    def holdout_of(self, scan: Scan, n_members: int) -> Holdout:
        """What is held out of another row: the same, but for rays that are masked there.

        Args:
            scan: prepared.
            n_members: of the ensemble.

        Raises:
            InputError: a scan of other views or rays, another number of networks, or too little that is not masked.
        """
        if scan.geometry.angles_rad != self.angles_rad:
            raise InputError(
                f"expected the neighbour's {len(self.angles_rad)} views, got {scan.geometry.n_angles} at other angles: "
                "hand in a neighbour of the same scan with the same scan.angle_step, or choose fit.init=random"
            )
        if n_members != len(self.holdout.chooses):
            raise InputError(
                f"expected fit.members={len(self.holdout.chooses)}, as the neighbour has, got {n_members}: choose as "
                "many, or fit.init=random"
            )
        try:
            return self.holdout.with_masked(scan.masked.cpu())
        except ValueError as error:
            raise InputError(
                f"{error}, in the row after {self.weights.record['scan']}: choose fit.init=random"
            ) from error


def neighbour_of(fit: Fit, scan: Scan, holdout: Holdout, *, rays_sha256: str, before: Neighbour | None) -> Neighbour:
    """What a fit hands on.

    Args:
        fit: of this row.
        scan: that was fitted, as prepared.
        holdout: of this fit.
        rays_sha256: of the scan as it was read.
        before: what this fit started from itself; None: it was no neighbour.
    """
    record = {
        "trained_on": "a neighbouring row",
        "scan": scan.name,
        "rays_sha256": rays_sha256,
        "holdout_of": scan.name if before is None else before.weights.record["holdout_of"],
    }
    weights = tuple({name: value.cpu() for name, value in member.items()} for member in fit.chosen_weights)
    own = Holdout(holdout.chooses.cpu(), holdout.judges.cpu(), holdout.masked.cpu())
    return Neighbour(
        weights=InitialWeights(weights, shape_of(fit.networks[0]), record).with_checksum(),
        holdout=own if before is None else before.holdout,
        angles_rad=scan.geometry.angles_rad,
    )
