"""What planning would have gained: a scan with all angles is acquired again in the order of a plan, and of others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctuq.angle_plan import AnglePlan
from ctuq.config import Config
from ctuq.errors import InputError
from ctuq.library_versions import library_versions
from ctuq.likeness import psnr, ssim
from ctuq.planning import plan, plannable, selection_of
from ctuq.preparation import prepare
from ctuq.preprocessing import PreprocessingSettings, preprocess
from ctuq.reconstructing import reconstruct
from ctuq.reconstruction import Provenance, Reconstruction
from ctuq.replay_curves import Curve, Point, Replay, ReplaySettings
from ctuq.scan import Scan, planar
from ctuq.stage_watch import OnStep
from ctuq.view_sequences import at_random, equidistant, golden
from ctuq.whole_file import write_text_whole
from design import draws_for
from operators import Geometry, filtered_back_projection


@dataclass
class Replayer:
    """Makes points, and finds those again that an earlier run finished.

    Args:
        scan: with all its views.
        config: of every reconstruction; its `scan.angle_step` thins the scan first.
        settings: how.
        reference: (row, col) in 1/mm; None: the filtered back-projection of all views.
        folder: for finished points; it exists.
        seed: of every random draw.
        device: torch device of the reconstructions.
        on_step: called as (stage, done, total, {name: value}).

    Raises:
        InputError: a scan of fewer views than are to be measured, or a reference on another grid.
    """

    scan: Scan
    config: Config
    settings: ReplaySettings
    folder: Path
    reference: Tensor | None = None
    seed: int = 0
    device: str = "cpu"
    on_step: OnStep | None = None
    _asked: tuple[str, Config] = field(init=False)

    def __post_init__(self) -> None:
        planar(self.scan.geometry)
        self._asked = self.scan.sha256, self.config
        # Preprocessed once, from all views: few of them would find another axis.
        self.scan = preprocess(self.scan, self.config.preprocessing).every(self.config.scan.angle_step)
        every_view = self.config.scan.model_copy(update={"angle_step": 1, "row": None})
        self.config = self.config.model_copy(update={"scan": every_view, "preprocessing": PreprocessingSettings()})
        total = self.settings.start + self.settings.n_angles
        if total > self.scan.geometry.n_angles:
            raise InputError(
                f"expected a scan of at least {total} views, as many as are to be measured, got "
                f"{self.scan.geometry.n_angles} with scan.angle_step={self._asked[1].scan.angle_step}: choose smaller "
                "--start and -n, or scan.angle_step=1"
            )
        prepared = prepare(self.scan, self.config)
        self._require_plannable(prepared.planar)
        if self.reference is None:
            self.reference = filtered_back_projection(prepared.geometry, prepared.sinogram)
        if tuple(self.reference.shape) != prepared.geometry.grid.shape:
            raise InputError(
                f"expected a reference image of {prepared.geometry.grid.shape} pixels, as grid.size has it, got "
                f"{tuple(self.reference.shape)}"
            )

    def _require_plannable(self, every: Geometry) -> None:
        """That constraints leave enough views, before the first reconstruction."""
        start, selection = self.settings.start, selection_of(self.settings.criterion, self.config.design)
        measured = every.select(equidistant(every.angles_rad, start, start))
        plannable(measured, every.angles_rad, selection, n_angles=self.settings.n_angles)

    def run(self) -> Replay:
        """All strategies, one after the other."""
        began = datetime.now(UTC)
        curves = {"planned": self._planned()}
        for name, views in self._sequences().items():
            curves[name] = self._curve(name, views)
        return Replay(self._provenance(began), self.scan.geometry.angles_rad, curves, self.settings)

    def _provenance(self, began: datetime) -> Provenance:
        sha256, config = self._asked
        ended = datetime.now(UTC)
        return Provenance(
            scan_name=self.scan.name,
            input_path=self.scan.file_name,
            input_sha256=sha256,
            config=config.as_json(),
            seed=self.seed,
            versions=library_versions(),
            start_time=began,
            end_time=ended,
            stage_seconds={"replay": (ended - began).total_seconds()},
            command="",
        )

    def _sequences(self) -> dict[str, list[int]]:
        angles, settings = self.scan.geometry.angles_rad, self.settings
        total = settings.start + settings.n_angles
        found: dict[str, list[int]] = {}
        for name in settings.against:
            if name == "equidistant":
                found[name] = equidistant(angles, settings.start, total)
            elif name == "golden":
                found[name] = golden(angles, total)
            else:
                for seed in range(settings.random_seeds):
                    generator = torch.Generator().manual_seed(self.seed + seed)
                    found[f"random-{seed + 1}"] = at_random(angles, total, generator=generator)
        return found

    def _planned(self) -> Curve:
        views = equidistant(self.scan.geometry.angles_rad, self.settings.start, self.settings.start)
        points: list[Point] = []
        promised: float | None = None
        self._tell("planned", 0)
        for n, following in zip(self.settings.points, (*self.settings.points[1:], None), strict=True):
            n_more = 0 if following is None else following - n
            record = self._finished(views, n_more) or self._make(views, n_more)
            points.append(Point(**(record["point"] | {"promised_std": promised})))
            views, promised = views + record["next"], record["promised_std"]
            self._tell("planned", len(points))
        return Curve(tuple(views), tuple(points))

    def _curve(self, name: str, views: Sequence[int]) -> Curve:
        points: list[Point] = []
        self._tell(name, 0)
        for n in self.settings.points:
            record = self._finished(views[:n], 0) or self._make(views[:n], 0)
            points.append(Point(**record["point"]))
            self._tell(name, len(points))
        return Curve(tuple(views), tuple(points))

    def _make(self, views: Sequence[int], n_more: int) -> dict[str, Any]:
        """Reconstruct from these views and plan so many more; kept on disk as a whole."""
        scan = self.scan.select(sorted(views, key=lambda view: self.scan.geometry.angles_rad[view]))
        found = reconstruct(scan, self.config, seed=self.seed, device=self.device, on_step=self.on_step)
        record: dict[str, Any] = {"point": asdict(self._scored(found, len(views))), "next": [], "promised_std": None}
        # On its own, too: other orders may pass through the same views, as the equidistant one starts from them.
        self._keep(record, views, 0)
        if n_more:
            angles = self.scan.geometry.angles_rad
            chosen = self._chosen(found, n_more, angles[views[-1]])
            where = {angle: view for view, angle in enumerate(angles)}
            record["next"] = [where[angle] for angle in chosen.angles_rad.tolist()]
            # Draws and map estimate the same deviation; its promised fall is carried over to the map's.
            record["promised_std"] = record["point"]["rms_std"] * float(1 - chosen.promised_fall[-1])
            self._keep(record, views, n_more)
        return record

    def _chosen(self, found: Reconstruction, n_more: int, present_rad: float) -> AnglePlan:
        """A plan of so many views from where the motor stands: limits of the configuration would end the comparison."""
        design = self.config.design
        rays = found.rays.geometry.n_detectors if found.rays is not None else 0
        enough = draws_for(n_more, rays)
        settings = design.model_copy(
            update={"n_draws": max(design.n_draws, enough), "max_views": None, "target_std": None, "min_score": None}
        )
        return plan(
            found,
            candidates=self.scan.geometry.angles_rad,
            n_angles=n_more,
            criterion=self.settings.criterion,
            settings=settings,
            present_rad=present_rad,
            seed=self.seed,
            on_step=self.on_step,
        )

    def _keep(self, record: Mapping[str, Any], views: Sequence[int], n_more: int) -> None:
        write_text_whole(json.dumps(record), self._file(views, n_more))

    def _scored(self, found: Reconstruction, n_views: int) -> Point:
        assert self.reference is not None  # noqa: S101  __post_init__ has made one
        truth, image = self.reference.double().cpu(), found.image.double()
        return Point(
            n_angles=n_views,
            psnr=psnr(image, truth),
            ssim=ssim(image, truth),
            chi_square=found.calibration.chi_square,
            mean_std=float(found.std.double().mean()),
            rms_std=float(found.std.double().square().mean().sqrt()),
        )

    def _finished(self, views: Sequence[int], n_more: int) -> dict[str, Any] | None:
        path = self._file(views, n_more)
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def _file(self, views: Sequence[int], n_more: int) -> Path:
        """Named by all that decides it, so that a run with other settings cannot take it for its own."""
        assert self.reference is not None  # noqa: S101  likewise
        digest = hashlib.sha256(self.reference.double().cpu().numpy().tobytes())
        # Where the motor stands decides a plan only.
        planned = (self.settings.criterion, views[-1]) if n_more else ()
        named = (self.scan.sha256, self.config.model_dump_json(), self.seed, sorted(views), n_more, planned)
        digest.update(repr(named).encode())
        return self.folder / f"{len(views):04d}-{digest.hexdigest()[:20]}.json"

    def _tell(self, order: str, done: int) -> None:
        """So many points of this order are done."""
        points = self.settings.points
        if self.on_step is not None:
            self.on_step(order, done, len(points), {"views": points[done - 1]} if done else {})
