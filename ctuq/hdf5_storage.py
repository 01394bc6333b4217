"""Whether a dataset's values are on disk: HDF5 gives fill values where they are not, and follows loops for ever."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

_LARGEST_CHUNK = 2**30  # bytes; HDF5 unpacks a chunk as a whole


def storage_problem(dataset: Any) -> str | None:
    """What keeps the values from being read as they were written, or None. Reads none of them.

    Args:
        dataset: of numbers; virtual datasets are followed to their sources.
    """
    return _problem(dataset, ())


def files_behind(dataset: Any) -> set[Path]:
    """The file that a dataset is in and those that hold its values, for one without a `storage_problem`."""
    here = Path(dataset.file.filename)
    found = {here}
    if dataset.is_virtual:
        for file_name, name in {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}:
            path = here if file_name == "." else _where(Path(file_name), here.parent)
            with suppress(OSError), h5py.File(path, "r") as file:
                found |= files_behind(file[name])
    elif dataset.external:
        found |= {here.parent / name for name, _, _ in dataset.external}
    return found


def _problem(dataset: Any, above: tuple[tuple[str, str], ...]) -> str | None:
    here = (str(Path(dataset.file.filename).resolve()), dataset.name)
    if here in above:
        return "a virtual dataset that leads back to itself: write its sources anew"
    if dataset.is_virtual:
        return _virtual_problem(dataset, (*above, here))
    if dataset.external:
        return _external_problem(dataset)
    if dataset.chunks is not None:
        return _chunk_problem(dataset)
    wanted, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if stored < wanted:
        return f"{stored:,} of {wanted:,} bytes on disk: the values were never written"
    return None


def _chunk_problem(dataset: Any) -> str | None:
    chunks, shape = dataset.chunks, dataset.shape
    if math.prod(chunks) * dataset.dtype.itemsize > _LARGEST_CHUNK:
        return f"chunks of shape {chunks}, which do not fit into 1 GB: copy it with smaller ones (h5repack)"
    expected = math.prod(-(-n // chunk) for n, chunk in zip(shape, chunks, strict=True))
    written = dataset.id.get_num_chunks()
    if written < expected:
        share = f"{written:,} of {expected:,} chunks on disk"
        return f"{share}: the rest was never written; did the scan stop early? Copy what there is to a smaller dataset"
    return _filter_problem(dataset)


def _filter_problem(dataset: Any) -> str | None:
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, codes)):
        return None
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401, PLC0415  registers its filters when imported, and is an extra
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if not missing:
        return None
    return f"compression by a filter that is not installed (number {missing[0]}): try pip install hdf5plugin"


def _external_problem(dataset: Any) -> str | None:
    folder = Path(dataset.file.filename).parent
    for name, offset, size in dataset.external:
        path = folder / name
        if not path.is_file():
            return f"values kept in {path}, which is not there: copy it too"
        if size != h5py.h5f.UNLIMITED and path.stat().st_size < offset + size:
            return f"values kept in {path}, which is cut short: copy it again"
    return None


def _virtual_problem(dataset: Any, above: tuple[tuple[str, str], ...]) -> str | None:
    sources = dataset.virtual_sources()
    if any("%b" in source.file_name or "%b" in source.dset_name for source in sources):
        return "a virtual dataset over a numbered series (%b), whose gaps cannot be seen: copy it to a plain dataset"
    mapped = sum(source.vspace.get_select_npoints() for source in sources)
    if mapped < dataset.size:
        return f"a virtual dataset of which {mapped:,} of {dataset.size:,} values have a source: write the rest"
    for file_name, name in sorted({(source.file_name, source.dset_name) for source in sources}):
        found = _source_problem(dataset, file_name, name, above)
        if found is not None:
            return found
    return None


def _source_problem(dataset: Any, file_name: str, name: str, above: tuple[tuple[str, str], ...]) -> str | None:
    if file_name == ".":
        return _named_source(dataset.file, name, file_name, above)
    path = _where(Path(file_name), Path(dataset.file.filename).parent)
    if path is None:
        return f"a virtual dataset whose source {file_name} is not there: copy it too"
    with suppress(OSError), h5py.File(path, "r") as file:
        return _named_source(file, name, file_name, above)
    return f"a virtual dataset whose source {file_name} is no whole HDF5 file: copy it again"


def _named_source(file: Any, name: str, file_name: str, above: tuple[tuple[str, str], ...]) -> str | None:
    source = file.get(name)
    if not isinstance(source, h5py.Dataset):
        return f"a virtual dataset whose source {name} is not in {file_name}: write it again"
    return _problem(source, above)


def _where(named: Path, folder: Path) -> Path | None:
    """In the order of HDF5's own search."""
    places = (named, folder / named.name) if named.is_absolute() else (folder / named, named)
    return next((place for place in places if place.is_file()), None)
