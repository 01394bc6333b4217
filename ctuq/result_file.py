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
from ctuq.rays import Rays, cone_from, geometry_from
from ctuq.reconstruction import Provenance, Reconstruction
from ctuq.result_tree import result_tree
from ctuq.scan import ScanGeometry
from ctuq.whole_file import written_whole
from dip.calibration import Calibration
from operators import GaussianNoise, ImageGrid, VolumeGrid


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
    parameters, fit = process["parameters"], process["fit"]
    grid = _grid(parameters, entry["data/data"].shape)

    def stack(name: str) -> Tensor:
        values = _tensor(entry[name])
        return values if isinstance(grid, VolumeGrid) else values.squeeze(-3)

    return Reconstruction(
        image=stack("data/data"),
        std=stack("data/data_errors"),
        standard_error=stack("uncertainty/standard_error"),
        samples=stack("samples/samples"),
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


def _grid(parameters: h5py.Group, shape: tuple[int, ...]) -> ImageGrid | VolumeGrid:
    pixel_mm = float(parameters["pixel_mm"][()])
    if "slice_mm" not in parameters:
        return ImageGrid(shape=(shape[1], shape[2]), pixel_mm=pixel_mm)
    slice_mm, centre_z_mm = float(parameters["slice_mm"][()]), float(parameters["centre_z_mm"][()])
    cubes = slice_mm == pixel_mm
    return VolumeGrid(
        shape=(shape[0], shape[1], shape[2]),
        pixel_mm=pixel_mm,
        slice_mm=None if cubes else slice_mm,
        centre_z_mm=centre_z_mm,
    )


def _rays(group: h5py.Group, grid: ImageGrid | VolumeGrid) -> Rays:
    variance = _tensor(group["noise_variance"])
    shared = _tensor(group["view_covariance"]) if "view_covariance" in group else None
    angles_deg, n_detectors = group["angle_deg"][()], variance.shape[-1]
    geometry: ScanGeometry
    if isinstance(grid, VolumeGrid):
        geometry = cone_from(
            group.attrs, angles_deg=angles_deg, n_rows=variance.shape[1], n_detectors=n_detectors, grid=grid
        )
    else:
        geometry = geometry_from(group.attrs, angles_deg=angles_deg, n_detectors=n_detectors, grid=grid)
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
