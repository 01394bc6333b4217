"""The folder in which an acquisition lives between commands. Every file in it is whole at every moment.

settings.json   what does not change: instrument, candidates, criterion, configuration, seed
state.json      what the planner remembers, and the deviation's curve; replaced by every step
belief.npz      the last belief, so that the next command need not reconstruct; it may be deleted
acquisition.html  the state as a page; written after every step, and it may be deleted
lock            held by the command at work; the system lets go of it however the command ends
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctuq.config import Config, load_config
from ctuq.errors import InputError
from ctuq.rays import degrees_of, geometry_attributes, geometry_from
from ctuq.whole_file import write_text_whole
from design import PlannerState
from operators import Geometry, ImageGrid

_VERSION = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class AcquisitionSettings:
    """What an acquisition was started with.

    Args:
        name: of the scan.
        instrument: geometry of whole views; its angles are the candidates', its axis is settled.
        stated_cor_index: the axis as the pilots' file says it, and those of further views must; None: it does not.
        criterion: a key of `ctuq.criteria.CRITERIA`.
        roi: see `region_mask`; None: the whole image.
        config: of every reconstruction.
        seed: of every random draw.
    """

    name: str
    instrument: Geometry
    stated_cor_index: float | None
    criterion: str
    roi: str | None
    config: Config
    seed: int

    @property
    def stated(self) -> Geometry:
        """The instrument as files say it."""
        return dataclasses.replace(self.instrument, cor_index=self.stated_cor_index)


@dataclass(frozen=True)
class CurvePoint:
    """The deviation of the region with so many views.

    Args:
        n_views: measured.
        region_std: root mean square, 1/mm.
        promised: of these views before they were measured, or None where nobody had asked.
    """

    n_views: int
    region_std: float
    promised: float | None


@dataclass(frozen=True)
class AcquisitionState:
    """What changes from step to step.

    Args:
        planner: all that the planner remembers.
        curve: one point for every number of views that somebody asked for more with.
        promised: deviation once all that is open is measured, by the number of views then.
        stopped: why there were fewer views than asked for, as of the last `next`, or None.
        enough: whether that is because a target or a limit was reached.
    """

    planner: PlannerState
    curve: tuple[CurvePoint, ...] = ()
    promised: Mapping[str, float] | None = None
    stopped: str | None = None
    enough: bool = False


class AcquisitionFolder:
    """One acquisition on disk.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def belief(self) -> Path:
        """Where the last belief is kept."""
        return self.path / "belief.npz"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out meanwhile; they wait.

        Raises:
            InputError: there is no acquisition here.
        """
        if not (self.path / "state.json").is_file():
            raise InputError(
                f"expected a folder with an acquisition, got {self.path} without one: start it with "
                f"ctuq acquire start {self.path} PILOT.h5"
            )
        with (self.path / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def create(self, settings: AcquisitionSettings, state: AcquisitionState, *, force: bool) -> None:
        """Make the folder, with the state last: without it there is no acquisition.

        Raises:
            InputError: there is one already and `force` is not given, or the folder cannot be made.
        """
        if (self.path / "state.json").exists() and not force:
            raise InputError(
                f"expected a new folder, but {self.path} holds an acquisition; go on with ctuq acquire next, or "
                "start anew with --force"
            )
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"expected a folder that can be made, but {self.path} cannot ({error.strerror})"
            ) from error
        (self.path / "state.json").unlink(missing_ok=True)  # of other settings
        self.belief.unlink(missing_ok=True)
        instrument = settings.instrument
        record = {
            "version": _VERSION,
            "name": settings.name,
            "geometry": geometry_attributes(instrument),
            "stated_cor_index": settings.stated_cor_index,
            "n_detectors": instrument.n_detectors,
            "candidates_deg": degrees_of(instrument.angles_rad).tolist(),
            "criterion": settings.criterion,
            "roi": settings.roi,
            "seed": settings.seed,
            "config": settings.config.as_json(),
        }
        self._write("settings.json", record)
        self.write(state)

    def write(self, state: AcquisitionState) -> None:
        """Put this state in the place of the last one, whole or not at all."""
        record = {
            "planner": state.planner.as_json(),
            "curve": [asdict(point) for point in state.curve],
            "promised": None if state.promised is None else dict(state.promised),
            "stopped": state.stopped,
            "enough": state.enough,
        }
        self._write("state.json", record)

    def read(self) -> tuple[AcquisitionSettings, AcquisitionState]:
        """Settings and state.

        Raises:
            InputError: files that are no acquisition's.
        """
        try:
            return _settings(self._read("settings.json")), _state(self._read("state.json"))
        except InputError:
            raise
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected an acquisition in {self.path}, got files that are none ({error!r}): restore the folder from "
                "a copy, or start anew"
            ) from error

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_text_whole(json.dumps(record, ensure_ascii=False), self.path / name)

    def _read(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return record


def _settings(record: Mapping[str, Any]) -> AcquisitionSettings:
    if record["version"] != _VERSION:
        raise ValueError(f"version {record['version']}, not {_VERSION}")
    # Pixels are for the reconstruction to choose; a speck of a grid lies inside every source.
    speck = ImageGrid(shape=(1, 1), pixel_mm=1e-9)
    instrument = geometry_from(
        record["geometry"], angles_deg=record["candidates_deg"], n_detectors=int(record["n_detectors"]), grid=speck
    )
    return AcquisitionSettings(
        name=record["name"],
        instrument=instrument,
        stated_cor_index=record["stated_cor_index"],
        criterion=record["criterion"],
        roi=record["roi"],
        config=load_config(record["config"]),
        seed=int(record["seed"]),
    )


def _state(record: Mapping[str, Any]) -> AcquisitionState:
    curve = tuple(CurvePoint(**point) for point in record["curve"])
    if not all(math.isfinite(point.region_std) for point in curve):
        raise ValueError("a deviation that is not finite")
    planner = PlannerState.from_json(record["planner"])
    return AcquisitionState(planner, curve, record["promised"], record["stopped"], record["enough"])
