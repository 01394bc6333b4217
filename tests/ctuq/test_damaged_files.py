"""Whatever is in a file, reading it ends with a scan or with an error that names the file: nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ctuq.errors import InputError
from ctuq.scan_file import read_scan
from tests.ctuq.scan_layouts import Measurement, measurement, write_data_exchange, write_nxtomo

OWN = Measurement(measurement().data / 7.0, measurement().theta_deg, geometry={"type": "parallel", "pitch_mm": 1.0})
FILES: dict[str, Callable[[Path], Path]] = {
    "own": lambda path: write_data_exchange(path, OWN, compression="gzip"),
    "Data Exchange": lambda path: write_data_exchange(path, measurement()),
    "NXtomo": lambda path: write_nxtomo(path, measurement(), chunks=(4, 1, 5)),
}
DATASETS = {
    "own": ("exchange/data", "exchange/theta", "exchange/noise_variance"),
    "Data Exchange": ("exchange/data", "exchange/theta", "exchange/data_white", "exchange/data_dark"),
    "NXtomo": ("entry/instrument/det/data", "entry/instrument/det/image_key", "entry/sample/rotation_angle"),
}
ARRAYS = st_numpy.arrays(
    dtype=st.one_of(
        st_numpy.floating_dtypes(sizes=(16, 32, 64)),
        st_numpy.integer_dtypes(),
        st_numpy.boolean_dtypes(),
        st_numpy.complex_number_dtypes(sizes=(64, 128)),
        st_numpy.byte_string_dtypes(min_len=1, max_len=4),
    ),
    shape=st.one_of(
        st.sampled_from([(), (1,), (12,), (20,), (12, 3, 10), (20, 3, 10), (4, 3, 10), (3, 10)]),
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12),
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: write(folder / f"{name}.h5").read_bytes() for name, write in FILES.items()}


def read_or_refused(path: Path, row: int | None) -> None:
    try:
        scan = read_scan(path, row=row)
    except InputError as error:
        message = str(error)
    else:
        message = str(path)
        assert scan.sinogram.isfinite().all()
        assert scan.sinogram.shape == scan.geometry.sinogram_shape
    assert str(path) in message


@settings(deadline=None, max_examples=150)
@given(data=st.data(), values=ARRAYS, unit=st.sampled_from(["deg", "rad", "counts", "", "bananas"]))
def test_any_dataset_may_hold_anything(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], data: st.DataObject, values: Any, unit: str
) -> None:
    kind = data.draw(st.sampled_from(sorted(FILES)))
    name = data.draw(st.sampled_from(DATASETS[kind]))
    row = data.draw(st.none() | st.integers(0, 2))  # before anything that a busy machine may do otherwise
    path = tmp_path_factory.mktemp("damaged") / "scan.h5"
    path.write_bytes(whole[kind])
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file[name] = values
        file[name].attrs["units"] = unit
    read_or_refused(path, row)


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(sorted(FILES)), share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], kind: str, share: float
) -> None:
    path = tmp_path_factory.mktemp("short") / "scan.h5"
    path.write_bytes(whole[kind][: int(share * len(whole[kind]))])
    with pytest.raises(InputError, match=r"scan\.h5: expected"):
        read_scan(path)
