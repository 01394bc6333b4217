"""A NeXus file as a tree in memory: what to write is said first, so that writing is the same every time and the file
can be compared with it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from ctuq.errors import CtuqError

Attribute: TypeAlias = str | int | float | list[str]


@dataclass(frozen=True)
class Field:
    """A dataset: numbers or text, with attributes. Stacks of images are cut into one compressed chunk an image."""

    value: NDArray[Any] | str | int | float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    image_stack: bool = False


@dataclass(frozen=True)
class Link:
    """A hard link to a dataset written before it, by absolute path."""

    target: str


@dataclass(frozen=True)
class Group:
    """A group of a NeXus class with attributes and named members, written in this order."""

    nx_class: str
    members: Mapping[str, Field | Link | Group]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def write_tree(root: Group, path: Path) -> None:
    """Write the tree to a new file. The same tree gives the same bytes: no creation times are kept.

    Raises:
        OSError: the disk is full or the path cannot be written.
    """
    # libver fixes the layout of the file: "latest" would follow the library that happens to be installed.
    with h5py.File(path, "w", libver=("earliest", "v110"), track_order=False) as file:
        _write_members(root, file)


def _write_members(group: Group, target: h5py.Group) -> None:
    target.attrs["NX_class"] = group.nx_class
    _write_attributes(group.attributes, target)
    for name, member in group.members.items():
        if isinstance(member, Group):
            _write_members(member, target.create_group(name))
        elif isinstance(member, Link):
            target[name] = target.file[member.target]
        else:
            _write_field(name, member, target)


def _write_field(name: str, member: Field, target: h5py.Group) -> None:
    if isinstance(member.value, str):
        dataset = target.create_dataset(name, data=member.value, dtype=h5py.string_dtype(), track_times=False)
    elif member.image_stack and isinstance(member.value, np.ndarray) and member.value.size:
        chunk = (1,) * (member.value.ndim - 2) + member.value.shape[-2:]
        dataset = target.create_dataset(
            name, data=member.value, chunks=chunk, compression="gzip", shuffle=True, track_times=False
        )
    else:
        dataset = target.create_dataset(name, data=member.value, track_times=False)
    _write_attributes(member.attributes, dataset)


def _write_attributes(attributes: Mapping[str, Attribute], target: h5py.Group | h5py.Dataset) -> None:
    for name, value in attributes.items():
        if isinstance(value, list):
            target.attrs.create(name, value, dtype=h5py.string_dtype())
        else:
            target.attrs[name] = value


def verify_tree(root: Group, path: Path) -> None:
    """Read the file back and compare every value with the tree it was written from.

    Raises:
        CtuqError: something on disk is not what was written, named by its path in the file.
    """
    with h5py.File(path, "r") as file:
        _verify_members(root, file)


def _verify_members(group: Group, source: h5py.Group) -> None:
    for name, member in group.members.items():
        if isinstance(member, Group):
            _verify_members(member, source[name])
        elif isinstance(member, Field):
            _verify_field(member, source[name])
        elif source[name] != source.file[member.target]:
            raise CtuqError(f"{source.name}/{name} does not link to {member.target}; is the disk failing?")


def _verify_field(member: Field, dataset: h5py.Dataset) -> None:
    if isinstance(member.value, str):
        same = dataset.asstr()[()] == member.value
    else:
        expected = np.asarray(member.value)
        # Bytes, not values: NaN equals itself here.
        same = dataset.shape == expected.shape and dataset[()].tobytes() == expected.tobytes()
    if not same:
        raise CtuqError(
            f"{dataset.name} read back from {dataset.file.filename} is not what was written; "
            "is the disk full or failing? try another folder"
        )
