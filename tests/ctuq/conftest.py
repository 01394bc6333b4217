"""Fixtures of the tests of the command line and of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from ctuq.scan import Scan
from ctuq.sinogram_file import write_sinogram_file
from operators import ImageGrid, ParallelBeam
from tests.ctuq.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ctuq.fake_command import FakeReconstruct


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeReconstruct:
    # The other tests in this folder need not import the whole application.
    from ctuq import jobs  # noqa: PLC0415
    from tests.ctuq.fake_command import FakeReconstruct  # noqa: PLC0415

    stand_in = FakeReconstruct()
    monkeypatch.setattr(jobs, "reconstruct", stand_in)
    return stand_in


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "disc.h5"
    path.parent.mkdir()
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    geometry = ParallelBeam(grid=ImageGrid(shape=(16, 16)), angles_rad=angles, n_detectors=16)
    write_sinogram_file(path, Scan(torch.ones(12, 16), geometry, None, "disc"))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "r.h5"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running
