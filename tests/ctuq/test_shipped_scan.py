from importlib.resources import as_file, files

import numpy as np
import torch

from ctuq.scan_file import inspect, read_scan
from operators import FanBeam, filtered_back_projection


def test_the_scan_that_ships_is_whole_small_and_carries_its_licence() -> None:
    with as_file(files("ctuq") / "data" / "htc2022_ta.h5") as path:
        header = inspect(path)
        assert path.stat().st_size < 300_000
        scan = read_scan(path, size=128)
        licence_page = path.with_name("README.md").read_text(encoding="utf-8")
    assert header.problems == ()
    assert header.name == scan.name == "HTC 2022 ta"
    assert "CC BY 4.0" in header.licence
    assert "10.5281/zenodo.6984868" in header.source
    assert "Meaney, Silva de Moura, Siltanen" in licence_page
    assert header.shape == (90, 1, 280)
    np.testing.assert_allclose(header.theta_deg, 4.0 * np.arange(90), atol=1e-9)
    assert isinstance(scan.geometry, FanBeam)
    assert (scan.geometry.source_origin_mm, scan.geometry.origin_detector_mm) == (410.66, 143.08)
    assert (scan.geometry.pitch_mm, scan.geometry.cor_index) == (0.4, None)


def test_it_shows_a_disc_of_seventy_millimetres() -> None:
    with as_file(files("ctuq") / "data" / "htc2022_ta.h5") as path:
        scan = read_scan(path, size=128)
    image = filtered_back_projection(scan.geometry, scan.sinogram)
    grid = scan.planar.grid
    radius = torch.hypot(*torch.meshgrid(grid.y_mm(), grid.x_mm(), indexing="ij"))
    inside, rim, outside = image[radius < 30], image[(radius > 32) & (radius < 34)], image[radius > 38]
    assert float(rim.mean()) > 5 * float(outside.abs().mean())
    assert float(inside.max()) > 0.02  # acrylic attenuates a few per cent a millimetre
