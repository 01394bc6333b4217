"""The rotation axis of the tooth scan, found from its rays: both rows, by true and by stated angles; writes JSON.

python -m tests.benchmarks.tooth_axis

The file's angles end at 179 degrees, but its last view mirrors its first: the true ones are 0 to 180 degrees.
"""

from __future__ import annotations

import h5py
import numpy as np
import torch

from ctuq.rotation_axis import find_rotation_axis
from ctuq.transmission import line_integrals
from operators import ImageGrid, ParallelBeam
from tests.benchmarks.environment import SHARED_DATA, save

TOOTH = SHARED_DATA / "tooth" / "tooth.h5"


def main() -> None:
    """Run the command line."""
    figures: dict[str, dict[str, dict[str, float]]] = {"true angles": {}, "stated angles": {}}
    with h5py.File(TOOTH) as file:
        angles = {"true angles": np.arange(181.0), "stated angles": file["exchange/theta"][()]}
        for row in (0, 1):
            counts, flats, darks = (file[f"exchange/{name}"][:, row] for name in ("data", "data_white", "data_dark"))
            values = torch.from_numpy(line_integrals(counts, flats, darks).line_integrals)
            for name, degrees in angles.items():
                grid = ImageGrid(shape=(48, 48))  # the search has grids of its own
                geometry = ParallelBeam(grid=grid, angles_rad=np.radians(degrees), n_detectors=values.shape[1])
                found = find_rotation_axis(geometry, values)
                figures[name][str(row)] = {"cor_index": found.cor_index, "standard_error": found.standard_error}
    print(figures)
    print("written to", save("tooth_axis", {"rows": figures}))


if __name__ == "__main__":
    main()
