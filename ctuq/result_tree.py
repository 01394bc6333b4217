"""What goes where in a result file: a reconstruction as a NeXus tree (NXtomoproc).

/entry/data (data, data_errors in 1/mm; z, y, x in mm, y falling as row 0 is the top, z rising; an image is a volume of
one slice), /entry/uncertainty,
/entry/samples, /entry/calibration, /entry/rays (geometry, noise and line integrals of the rays as reconstructed), and
/entry/reconstruction with its parameters, configuration and steps of preprocessing (JSON), diagnostics, seconds by
stage and the fit's curve.
Angles are in degrees here, in radians in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctuq.nexus import Attribute, Field, Group, Link
from ctuq.rays import Rays, degrees_of, geometry_attributes
from ctuq.reconstruction import Reconstruction
from dip.calibration import Calibration
from operators import VolumeGrid


def result_tree(reconstruction: Reconstruction) -> Group:
    """The whole file as a tree. The same reconstruction gives the same tree; its posterior is left out."""
    provenance = reconstruction.provenance
    entry = Group(
        "NXentry",
        {
            "definition": Field("NXtomoproc"),
            "title": Field(provenance.scan_name),
            "start_time": Field(_iso(provenance.start_time)),
            "end_time": Field(_iso(provenance.end_time)),
            "data": _picture(reconstruction),
            "uncertainty": _uncertainty(reconstruction),
            "samples": Group(
                "NXcollection",
                {
                    "samples": Field(
                        _stack(reconstruction.samples, reconstruction), {"units": "1/mm"}, image_stack=True
                    ),
                    "seed": Field(provenance.seed),
                },
            ),
            "calibration": _calibration_group(reconstruction.calibration),
            "reconstruction": _process(reconstruction),
            **({} if reconstruction.rays is None else {"rays": _rays(reconstruction.rays)}),
        },
        {"default": "data"},
    )
    return Group("NXroot", {"entry": entry}, {"default": "entry", "creator": "ctuq"})


def _picture(reconstruction: Reconstruction) -> Group:
    plane = reconstruction.plane
    z = _array(reconstruction.grid.z_mm()) if isinstance(reconstruction.grid, VolumeGrid) else np.zeros(1)
    image, std = (_stack(values, reconstruction) for values in (reconstruction.image, reconstruction.std))
    unit = {"units": "1/mm", "interpretation": "image"}
    return Group(
        "NXdata",
        {
            "data": Field(image, unit | {"long_name": "attenuation (1/mm)"}, image_stack=True),
            "data_errors": Field(std, unit | {"long_name": "standard deviation (1/mm)"}, image_stack=True),
            "z": Field(z, {"units": "mm"}),
            "y": Field(_array(plane.y_mm()), {"units": "mm"}),
            "x": Field(_array(plane.x_mm()), {"units": "mm"}),
        },
        {"signal": "data", "axes": ["z", "y", "x"], "auxiliary_signals": ["data_errors"]},
    )


def _uncertainty(reconstruction: Reconstruction) -> Group:
    label = {"units": "1/mm", "interpretation": "image", "long_name": "standard error of the deviation (1/mm)"}
    return Group(
        "NXdata",
        {
            "std": Link("/entry/data/data_errors"),
            "standard_error": Field(_stack(reconstruction.standard_error, reconstruction), label, image_stack=True),
            **{axis: Link(f"/entry/data/{axis}") for axis in ("z", "y", "x")},
        },
        {"signal": "std", "axes": ["z", "y", "x"], "auxiliary_signals": ["standard_error"]},
    )


def _calibration_group(calibration: Calibration) -> Group:
    return Group(
        "NXdata",
        {
            "nominal": Field(_array(calibration.nominal), {"long_name": "nominal coverage"}),
            "observed": Field(_array(calibration.observed), {"long_name": "share of test rays inside"}),
            "z": Field(_array(calibration.z), {"long_name": "z-scores of test rays"}),
            "angle_deg": Field(degrees_of(calibration.angles_rad), {"units": "degree"}),
        },
        {
            "signal": "observed",
            "axes": ["nominal"],
            "chi_square": float(calibration.chi_square),
            "chi_square_error": float(calibration.chi_square_error),
            "coverage_95": float(calibration.coverage_95),
            "coverage_error": float(calibration.coverage_error),
            "whole_views": bool(calibration.whole_views),
            "n_rays": int(calibration.n_rays),
            "n_angles": int(calibration.n_angles),
            "temperature": float(calibration.temperature),
        },
    )


def _rays(rays: Rays) -> Group:
    members: dict[str, Field | Link | Group] = {
        "angle_deg": Field(degrees_of(rays.geometry.angles_rad), {"units": "degree"}),
        "noise_variance": Field(_array(torch.as_tensor(rays.noise.variance, dtype=torch.float64))),
    }
    if rays.sinogram is not None:
        members["sinogram"] = Field(_array(rays.sinogram), {"long_name": "line integrals as reconstructed"})
    if rays.noise.view_covariance is not None:
        members["view_covariance"] = Field(_array(rays.noise.view_covariance.double()))
    attributes: dict[str, Attribute] = {**geometry_attributes(rays.geometry), "noise_stated": rays.noise_stated}
    return Group("NXcollection", members, attributes)


def _process(reconstruction: Reconstruction) -> Group:
    provenance = reconstruction.provenance
    record = {
        "config": dict(provenance.config),
        "seed": provenance.seed,
        "versions": dict(provenance.versions),
        "input": {"scan": provenance.scan_name, "file": provenance.input_path, "sha256": provenance.input_sha256},
        "command": provenance.command,
        "notes": list(provenance.notes),
        "initial_weights": provenance.initial_weights,
    }
    parameters = {
        "raw_file": Field(provenance.input_path),
        "noise_variance": Field(float(reconstruction.noise_variance), {"long_name": "variance of a line integral"}),
        "pixel_mm": Field(float(reconstruction.grid.pixel_mm), {"units": "mm"}),
        **_depth(reconstruction),
        "seed": Field(provenance.seed),
    }
    curve = {
        "step": Field(_array(reconstruction.fit_steps)),
        "holdout_loss": Field(_array(reconstruction.holdout_loss)),
        "fit_loss": Field(_array(reconstruction.fit_loss)),
    }
    steps = [{"name": step.name, "text": step.text, "numbers": dict(step.numbers)} for step in provenance.steps]
    signals: dict[str, Attribute] = {"signal": "holdout_loss", "axes": ["step"], "auxiliary_signals": ["fit_loss"]}
    return Group(
        "NXprocess",
        {
            "program": Field("ctuq"),
            "version": Field(provenance.versions.get("ctuq", "unknown")),
            "date": Field(_iso(provenance.end_time)),
            "sequence_index": Field(1),
            "parameters": Group("NXparameters", parameters),
            "configuration": _json(record),
            "preprocessing": _json(steps),
            "diagnostics": _numbers(reconstruction.diagnostics, {}),
            "stage_seconds": _numbers(provenance.stage_seconds, {"units": "s"}),
            "fit": Group("NXdata", curve, signals),
        },
    )


def _json(content: object) -> Group:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    return Group("NXnote", {"type": Field("application/json"), "data": Field(text)})


def _numbers(values: Mapping[str, float], attributes: dict[str, str]) -> Group:
    # HDF5 lists members by name; `order` remembers which came first.
    return Group("NXcollection", {k: Field(float(v), attributes) for k, v in values.items()}, {"order": list(values)})


def _array(values: Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy()


def _depth(reconstruction: Reconstruction) -> dict[str, Field]:
    """What tells a volume from an image: its slices' distance, and where its middle lies on the rotation axis."""
    grid = reconstruction.grid
    if not isinstance(grid, VolumeGrid):
        return {}
    return {
        "slice_mm": Field(float(grid.thickness_mm), {"units": "mm"}),
        "centre_z_mm": Field(float(grid.centre_z_mm), {"units": "mm"}),
    }


def _stack(images: Tensor, reconstruction: Reconstruction) -> NDArray[np.float32]:
    """Images or volumes -> float32 (..., slices, rows, cols), an image being one slice."""
    values = images.detach().cpu().to(torch.float32)
    if not isinstance(reconstruction.grid, VolumeGrid):
        values = values.unsqueeze(-3)
    return values.contiguous().numpy()


def _iso(moment: datetime) -> str:
    """In UTC and always of one length, so that files that differ in their dates alone differ in those bytes alone."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
