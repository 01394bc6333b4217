"""The result file: written whole or not at all, read back whole. `ctuq.result_tree` says what goes where in it."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path

import h5py
import torch
from torch import Tensor

from ctuq.errors import InputError
from ctuq.hdf5 import opened
from ctuq.nexus import verify_tree, write_tree
from ctuq.processing_step import ProcessingStep
from ctuq.rays import Rays, geometry_from
from ctuq.reconstruction import Provenance, Reconstruction
from ctuq.result_tree import result_tree
from ctuq.whole_file import written_whole
from dip.calibration import Calibration
from operators import GaussianNoise, ImageGrid


def write_result(reconstruction: Reconstruction, path: Path, *, force: bool = False) -> Path:
    """Write a reconstruction to a NeXus file, whole or not at all, read back and compared before it gets its name.

    The same reconstruction gives the same bytes; dates and seconds keep their place and length.

    Args:
        reconstruction: what to write; its posterior is not written.
        path: the file, usually ending in .h5.
        force: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        InputError: the file exists and `force` is not given, or its folder is missing or read-only.
        CtuqError: what was read back is not what was written.
        OSError: the disk is full.
    """
    tree = result_tree(reconstruction)
    with written_whole(path, force=force) as part:
        write_tree(tree, part)
        verify_tree(tree, part)
    return path


def read_result(path: str | Path) -> Reconstruction:
    """Read a result file back; its `posterior` is None.

    Args:
        path: of a file that ctuq wrote.

    Raises:
        InputError: the file is missing, cannot be read as HDF5, or lacks something a result has.
    """
    path = Path(path)
    with opened(path) as file:
        if "entry/rows" in file:
            raise InputError(
                f"{path}: expected the result of one row, got the volume of several: name one in {path.stem}.parts"
            )
        try:
            return _reconstruction(file)
        except OSError as error:  # a chunk that does not decompress shows only now
            raise InputError(f"{path}: expected readable data, got: {error}. Copy the file again") from error
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}: expected a result of `ctuq reconstruct`, got an HDF5 file that lacks some part ({error}): "
                "name the file given to --out; `ctuq check` reads scans"
            ) from error


def _reconstruction(file: h5py.File) -> Reconstruction:
    entry, process = file["entry"], file["entry/reconstruction"]
    parameters, fit, rows_cols = process["parameters"], process["fit"], entry["data/data"].shape[-2:]
    grid = ImageGrid(shape=rows_cols, pixel_mm=float(parameters["pixel_mm"][()]))
    return Reconstruction(
        image=_tensor(entry["data/data"])[0],
        std=_tensor(entry["data/data_errors"])[0],
        standard_error=_tensor(entry["uncertainty/standard_error"])[0],
        samples=_tensor(entry["samples/samples"])[:, 0],
        noise_variance=float(parameters["noise_variance"][()]),
        grid=grid,
        calibration=_calibration(entry["calibration"]),
        provenance=_provenance(entry),
        diagnostics=_mapping(process["diagnostics"]),
        fit_steps=_tensor(fit["step"]),
        fit_loss=_tensor(fit["fit_loss"]),
        holdout_loss=_tensor(fit["holdout_loss"]),
        rays=_rays(entry["rays"], grid) if "rays" in entry else None,  # older files have none
    )


def _rays(group: h5py.Group, grid: ImageGrid) -> Rays:
    variance = _tensor(group["noise_variance"])
    shared = _tensor(group["view_covariance"]) if "view_covariance" in group else None
    geometry = geometry_from(group.attrs, angles_deg=group["angle_deg"][()], n_detectors=variance.shape[1], grid=grid)
    sinogram = _tensor(group["sinogram"]) if "sinogram" in group else None  # older files have none
    stated = bool(group.attrs.get("noise_stated", False))  # older files do not say
    return Rays(geometry, GaussianNoise(variance, shared), sinogram, stated)


def _calibration(group: h5py.Group) -> Calibration:
    return Calibration(
        chi_square=float(group.attrs["chi_square"]),
        coverage_95=float(group.attrs["coverage_95"]),
        z=_tensor(group["z"]),
        nominal=_tensor(group["nominal"]),
        observed=_tensor(group["observed"]),
        n_rays=int(group.attrs["n_rays"]),
        n_angles=int(group.attrs["n_angles"]),
        temperature=float(group.attrs["temperature"]),
        angles_rad=tuple(math.radians(angle) for angle in group["angle_deg"][()]),
        # Older files have none of these.
        chi_square_error=float(group.attrs.get("chi_square_error", math.nan)),
        coverage_error=float(group.attrs.get("coverage_error", math.nan)),
        whole_views=bool(group.attrs.get("whole_views", True)),
    )


def _provenance(entry: h5py.Group) -> Provenance:
    record = json.loads(_text(entry["reconstruction/configuration/data"]))
    return Provenance(
        scan_name=record["input"]["scan"],
        input_path=record["input"]["file"],
        input_sha256=record["input"]["sha256"],
        config=record["config"],
        seed=int(record["seed"]),
        versions=record["versions"],
        start_time=datetime.fromisoformat(_text(entry["start_time"])),
        end_time=datetime.fromisoformat(_text(entry["end_time"])),
        stage_seconds=_mapping(entry["reconstruction/stage_seconds"]),
        command=record["command"],
        notes=tuple(record["notes"]),
        steps=_steps(entry["reconstruction"]),
        initial_weights=record.get("initial_weights"),  # older files have none
    )


def _steps(process: h5py.Group) -> tuple[ProcessingStep, ...]:
    if "preprocessing" not in process:  # of older files
        return ()
    return tuple(
        ProcessingStep(
            step["name"],
            step["text"],
            {name: tuple(one) if isinstance(one, list) else one for name, one in step["numbers"].items()},
        )
        for step in json.loads(_text(process["preprocessing/data"]))
    )


def _mapping(group: h5py.Group) -> dict[str, float]:
    return {name: float(group[name][()]) for name in group.attrs["order"]}


def _text(dataset: h5py.Dataset) -> str:
    return str(dataset.asstr()[()])


def _tensor(dataset: h5py.Dataset) -> Tensor:
    return torch.from_numpy(dataset[()])
