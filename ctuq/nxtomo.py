"""NXtomo files: one stack of frames with an image_key that tells projections, flats and darks apart.

NXentry or NXsubentry/instrument/<NXdetector>/data        (frame, y, x) counts, often an external link
…/<NXdetector>/image_key                                 0 projection, 1 flat, 2 dark, 3 invalid
…/sample/rotation_angle                                  one a frame, degrees or what its attribute units says;
                                                         missing: the axis of an NXdata of the same detector
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ctuq.amount import amount
from ctuq.beam import parallel_beam
from ctuq.frames import Frames
from ctuq.hdf5 import find_dataset, follow, is_linked, link_of, text_of
from ctuq.hdf5_frames import Hdf5Frames, projections, reference_frames
from ctuq.remarks import Remarks
from ctuq.scan_header import ScanParts
from ctuq.source_choice import SourceChoice
from ctuq.view_angles import ViewAngles, dataset_angles, named_angles

_KEYS = {0: "projection", 1: "flat", 2: "dark", 3: "invalid"}
_ANGLE_WORDS = ("theta", "rot", "angle", "omega")
_DEEPEST = 3  # groups below the root: entry, subentry, instrument


@dataclass(frozen=True)
class _Detector:
    """An NXdetector with an image_key.

    Args:
        path: of the group.
        entry: path of the innermost entry that it is in.
        whole: whether its data can be had.
    """

    path: str
    entry: str
    whole: bool


def find_parts(file: Any, choice: SourceChoice, remarks: Remarks) -> ScanParts | None:
    """The parts of an NXtomo file; None for a file of another layout."""
    detectors = _detectors(file)
    if not detectors:
        return None
    entries = tuple(sorted({detector.entry for detector in detectors if detector.whole})) or (detectors[0].entry,)
    detector = _chosen_detector(file, detectors, entries, choice, remarks)
    several = entries if len(entries) > 1 else ()
    if detector is None:
        return ScanParts("NXtomo", "it has detectors with an image_key", several)
    data = projections(file, choice.data or f"{detector.path}/data", remarks)
    keys = _image_keys(file, f"{detector.path}/image_key", data, remarks)
    views = np.flatnonzero(keys == 0)
    sample = [f"{detector.entry}/{name}/" for name in _groups_of(follow(file, detector.entry), "NXsample")]
    return ScanParts(
        layout="NXtomo",
        why=f"{detector.path} has an image_key",
        entries=several,
        name=text_of(follow(file, f"{detector.entry}/title")),
        data=data if data is None or not len(keys) else data.of(views),
        units="counts",
        angles=_angles(file, detector, sample, keys, choice, remarks),
        flats=_reference(file, choice.flats, "frames of the open beam", data, np.flatnonzero(keys == 1), remarks),
        darks=_reference(file, choice.darks, "frames without beam", data, np.flatnonzero(keys == 2), remarks),
        beam=parallel_beam(file, (*(f"{s}x_pixel_size" for s in sample), f"{detector.path}/x_pixel_size"), remarks),
    )


def _detectors(file: Any) -> list[_Detector]:
    found: list[_Detector] = []

    def visit(group: Any, path: str, entry: str, depth: int) -> None:
        for name in sorted(group):
            link = group.get(name, getlink=True)
            child = follow(group, name) if not isinstance(link, h5py.SoftLink) else None
            if not isinstance(child, h5py.Group):
                continue
            inner = f"{path}/{name}" if path else name
            kind = text_of(child.attrs.get("NX_class"))
            if kind == "NXdata":  # links to what a detector holds
                continue
            if is_linked(child, "image_key"):
                whole = isinstance(follow(child, "data"), h5py.Dataset)
                found.append(_Detector(inner, entry or inner.split("/")[0], whole))
            elif depth < _DEEPEST and kind in ("NXentry", "NXsubentry", "NXinstrument", ""):
                visit(child, inner, inner if kind in ("NXentry", "NXsubentry") else entry, depth + 1)

    visit(file, "", "", 0)
    return found


def _chosen_detector(
    file: Any, detectors: list[_Detector], entries: tuple[str, ...], choice: SourceChoice, remarks: Remarks
) -> _Detector | None:
    wanted = None if choice.entry is None else choice.entry.strip("/")
    if wanted is not None:
        detectors = [each for each in detectors if wanted in (each.entry, each.entry.split("/")[0])]
    elif len(entries) > 1:
        default = text_of(file.attrs.get("default")).strip("/")
        detectors = [each for each in detectors if each.entry in entries and default in each.entry.split("/")]
        if detectors:
            remarks.notes.append(f"the file holds {', '.join(entries)}: its default {default} is read")
    if not detectors:
        got = f"{choice.entry}" if wanted is not None else f"{len(entries)}"
        remarks.problems.append(
            f"expected one scan of the file's {', '.join(entries)}, got {got}: choose one with --entry {entries[0]}"
        )
        return None
    whole = [each for each in detectors if each.whole]
    if choice.data is not None:
        beside = [each for each in detectors if choice.data.strip("/").startswith(f"{each.path}/")]
        return (beside or whole or detectors)[0]
    for each in detectors:
        if whole and not each.whole:
            remarks.notes.append(f"{each.path} is left out: its data are {link_of(file, f'{each.path}/data')}")
    if len(whole) > 1:
        names = ", ".join(f"{each.path}/data" for each in whole)
        remarks.problems.append(f"expected one detector with data, got {len(whole)}: choose with --data one of {names}")
        return None
    return (whole or detectors)[0]


def _image_keys(file: Any, name: str, data: Hdf5Frames | None, remarks: Remarks) -> NDArray[np.int64]:
    """One a frame; empty where they cannot be had."""
    none = np.empty(0, dtype=np.int64)
    dataset = find_dataset(file, name, "what each frame is", remarks)
    if dataset is None or data is None:
        return none
    frames = data.shape[0]
    if dataset.size != frames:
        remarks.problems.append(
            f"expected an image_key for each of {amount(frames, 'frame')} of {data.name}, got {dataset.size} in "
            f"{name}: is the file whole?"
        )
        return none
    keys = np.asarray(dataset[()]).ravel()
    unknown = sorted(set(np.unique(keys).tolist()) - set(_KEYS))
    if unknown:
        remarks.problems.append(f"expected an image_key of 0 to 3 in {name}, got {unknown[0]}: correct it")
        return none
    if not (keys == 0).any():
        remarks.problems.append(
            f"expected projections (image_key 0) in {name}, got none among {amount(frames, 'frame')}"
        )
        return none
    n_invalid = int((keys == 3).sum())
    if n_invalid:
        remarks.notes.append(f"{amount(n_invalid, 'frame')} left out, which the file calls invalid (image_key 3)")
    return keys.astype(np.int64)


def _reference(
    file: Any,
    named: str | None,
    holds: str,
    data: Hdf5Frames | None,
    frames: NDArray[np.int64],
    remarks: Remarks,
) -> Frames | None:
    if named is not None:
        return reference_frames(file, named, holds, data, remarks)
    return None if data is None or not len(frames) else data.of(frames)


def _angles(
    file: Any,
    detector: _Detector,
    sample: list[str],
    keys: NDArray[np.int64],
    choice: SourceChoice,
    remarks: Remarks,
) -> ViewAngles:
    """Of the projections, from angles of all frames or of the projections alone."""
    views = np.flatnonzero(keys == 0)
    if choice.angles is not None:
        angles = named_angles(file, choice.angles, remarks)
    else:
        angles = dataset_angles(file, _angle_place(file, detector, sample, remarks), remarks)
    if not len(keys) or not angles.degrees:
        return angles
    return angles.of(views) if len(angles.degrees) == len(keys) else angles


def _angle_place(file: Any, detector: _Detector, sample: list[str], remarks: Remarks) -> str:
    usual = [f"{each}rotation_angle" for each in sample] or [f"{detector.entry}/sample/rotation_angle"]
    for place in usual:
        if is_linked(file, place):
            return place
    name = f"{detector.entry}/{detector.path.rsplit('/', 1)[-1]}"
    group = follow(file, name)
    for axis in _frame_axes(group):
        if isinstance(follow(group, axis), h5py.Dataset):
            remarks.notes.append(
                f"no {usual[0]}: angles are taken from {name}/{axis}, an axis of the detector's NXdata"
            )
            return f"{name}/{axis}"
    return usual[0]


def _frame_axes(group: Any) -> list[str]:
    """Fields of an NXdata along its first axis that sound like an angle, the axis itself first."""
    if not isinstance(group, h5py.Group):
        return []
    axes = np.atleast_1d(group.attrs.get("axes", []))
    first = [text_of(axes[0])] if len(axes) else []
    along = [
        name.removesuffix("_indices")
        for name, value in group.attrs.items()
        if name.endswith("_indices") and np.size(value) == 1 and np.asarray(value).item() == 0
    ]
    named = [*first, *along]
    return [name for name in dict.fromkeys(named) if any(word in name.lower() for word in _ANGLE_WORDS)]


def _groups_of(group: Any, nx_class: str) -> list[str]:
    if not isinstance(group, h5py.Group):
        return []
    return [
        name
        for name in group
        if isinstance(child := follow(group, name), h5py.Group) and text_of(child.attrs.get("NX_class")) == nx_class
    ]
