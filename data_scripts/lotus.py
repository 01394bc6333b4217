"""Convert the FIPS lotus root (one fan-beam slice, cropped and binned) to ctuq's sinogram file.

Use it as `python data_scripts/lotus.py --local DOWNLOADS --out SCANS`, where DOWNLOADS holds lotus_fan.npz.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from ctuq.errors import CtuqError
from ctuq.scan import Scan
from ctuq.sinogram_file import write_sinogram_file
from operators import FanBeam, ImageGrid

SOURCE = (
    'Bubba et al., "Tomographic X-ray data of a lotus root filled with attenuating objects", Zenodo, '
    "doi:10.5281/zenodo.1254204, arXiv:1609.07299; cropped and binned by 4"
)
LICENCE = "CC BY 4.0, attribution: " + SOURCE
_NAME = "lotus_fan.npz"


def read_scan_npz(path: Path) -> Scan:
    """The scan in `lotus_fan.npz`: line integrals, angles and distances.

    `cor_shift_px` = -1.43 counts detector pixels from the array's centre to the axis, so it adds to cor_index. The
    sign was found by reconstructing: over all 360 views our FBP correlates more with the reference at -1.43 than at 0
    or at +1.43.

    Raises:
        CtuqError: the file is of another kind.
    """
    try:
        with np.load(path) as content:
            facts = {name: content[name] for name in ("sino", "angles_rad")}
            pitch_mm, source_origin_mm, source_detector_mm, shift = (
                float(content[name]) for name in ("det_pitch_mm", "SOD_mm", "SDD_mm", "cor_shift_px")
            )
    except (KeyError, ValueError, OSError, AttributeError) as error:
        raise CtuqError(f"{path}: expected sino, angles_rad and distances, as in {_NAME}, got: {error}") from error
    n_detectors = facts["sino"].shape[1]
    geometry = FanBeam(
        grid=ImageGrid(shape=(n_detectors, n_detectors), pixel_mm=pitch_mm * source_origin_mm / source_detector_mm),
        angles_rad=facts["angles_rad"],
        n_detectors=n_detectors,
        pitch_mm=pitch_mm,
        source_origin_mm=source_origin_mm,
        origin_detector_mm=round(source_detector_mm - source_origin_mm, 6),
        cor_index=(n_detectors - 1) / 2 + shift,
    )
    return Scan(facts["sino"], geometry, name="FIPS lotus")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="FIPS lotus root to ctuq's sinogram file")
    parser.add_argument("--local", type=Path, required=True, help=f"folder with {_NAME}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write lotus.h5 to")
    parser.add_argument("--step", type=int, default=1, help="keep every so-many-th of the 360 views")
    parser.add_argument("--bin", type=int, default=1, help="average so many neighbouring detector pixels")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    options = parser.parse_args(arguments)
    source = options.local / _NAME
    if not source.is_file():
        print(f"Not in {options.local}: {_NAME}", file=sys.stderr)
        print("It is made from the data at Zenodo, doi:10.5281/zenodo.1254204: crop, -log, bin by 4.", file=sys.stderr)
        print(LICENCE, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "lotus.h5"
    try:
        scan = read_scan_npz(source).every(options.step).binned(options.bin)
        write_sinogram_file(target, scan, source=SOURCE, licence=LICENCE, force=options.force)
    except CtuqError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{target}: {scan.sinogram.shape[0]} views, {scan.sinogram.shape[1]} detector pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
