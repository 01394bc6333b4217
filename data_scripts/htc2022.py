"""Convert scans of the Helsinki Tomography Challenge 2022 to ctuq's sinogram file.

All 720 views and 560 pixels: `python data_scripts/htc2022.py --local DOWNLOADS --out SCANS`.
As ctuq ships object ta: add `--objects ta --views 90 --bin 2`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import scipy.io

from ctuq.errors import CtuqError
from ctuq.scan import Scan
from ctuq.sinogram_file import write_sinogram_file
from operators import FanBeam, ImageGrid

SOURCE = (
    'Meaney, Silva de Moura, Siltanen, "Helsinki Tomography Challenge 2022 open tomographic dataset", '
    "Zenodo, doi:10.5281/zenodo.6984868"
)
LICENCE = "CC BY 4.0, attribution: " + SOURCE


def read_scan_mat(path: Path) -> Scan:
    """The scan of one `htc2022_*_full.mat`: struct CtDataFull with the sinogram, already -log, and the scanner's data.

    The last view, at 360 degrees, repeats the first and is dropped. Axis at the detector's centre, angles as given.

    Raises:
        CtuqError: the file is of another kind.
    """
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)["CtDataFull"]
    except (KeyError, ValueError) as error:
        raise CtuqError(
            f"{path}: expected a struct CtDataFull, as in htc2022_ta_full.mat, got none ({error})"
        ) from error
    facts = content["parameters"]
    angles_deg = np.asarray(facts["angles"], dtype=np.float64)
    sinogram = np.asarray(content["sinogram"], dtype=np.float64)
    if np.isclose(angles_deg[-1] - angles_deg[0], 360.0):
        angles_deg, sinogram = angles_deg[:-1], sinogram[:-1]
    n_detectors = int(facts["numDetectorsPost"])
    pitch_mm = float(facts["pixelSizePost"])
    source_origin_mm = float(facts["distanceSourceOrigin"])
    source_detector_mm = float(facts["distanceSourceDetector"])
    geometry = FanBeam(
        grid=ImageGrid(shape=(n_detectors, n_detectors), pixel_mm=pitch_mm * source_origin_mm / source_detector_mm),
        angles_rad=np.radians(angles_deg),
        n_detectors=n_detectors,
        pitch_mm=pitch_mm,
        source_origin_mm=source_origin_mm,
        # Rounded: the difference of two lengths given to 0.01 mm has no more digits than they.
        origin_detector_mm=round(source_detector_mm - source_origin_mm, 6),
    )
    return Scan(sinogram, geometry, name="HTC 2022 " + path.stem.removeprefix("htc2022_").removesuffix("_full"))


def convert(local: Path, out: Path, name: str, *, step: int, detector_bin: int, force: bool) -> Path:
    """Convert object `name` from the folder `local` to `out`/htc2022_`name`.h5, and return that path."""
    scan = read_scan_mat(local / f"htc2022_{name}_full.mat").every(step).binned(detector_bin)
    target = out / f"htc2022_{name}.h5"
    write_sinogram_file(target, scan, source=SOURCE, licence=LICENCE, force=force)
    print(f"{target}: {scan.sinogram.shape[0]} views, {scan.sinogram.shape[1]} detector pixels")
    return target


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="HTC 2022 .mat files to ctuq's sinogram file")
    parser.add_argument("--local", type=Path, required=True, help="folder with htc2022_<object>_full.mat")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--objects", nargs="+", default=["ta", "tb"], help="ta, tb, tc, td, 01a ... (default: ta tb)")
    thinning = parser.add_mutually_exclusive_group()
    thinning.add_argument("--views", type=int, help="keep so many equally spaced views; must divide 720")
    thinning.add_argument("--step", type=int, default=1, help="keep every so-many-th view")
    parser.add_argument("--bin", type=int, default=1, help="average so many neighbouring detector pixels")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    options = parser.parse_args(arguments)
    if options.views is not None and (options.views < 1 or 720 % options.views):
        parser.error(f"--views must divide 720 to be equally spaced, got {options.views}")
    missing = [n for n in options.objects if not (options.local / f"htc2022_{n}_full.mat").is_file()]
    if missing:
        print(f"Not in {options.local}: " + ", ".join(f"htc2022_{n}_full.mat" for n in missing), file=sys.stderr)
        print(
            f"Download them from Zenodo, doi:10.5281/zenodo.6984868, then run this again.\n{LICENCE}", file=sys.stderr
        )
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    step = options.step if options.views is None else 720 // options.views
    try:
        for name in options.objects:
            convert(options.local, options.out, name, step=step, detector_bin=options.bin, force=options.force)
    except CtuqError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
