"""Which part of a file is the scan, where the file does not say so or says it wrongly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """What a user names of a file; None: found from the file's layout. Files are sought from the working folder.

    Args:
        entry: one of several scans in the file, such as "entry1" (NXtomo) or "exchange_2" (Data Exchange).
        data: path inside the file of the projections; of a TIFF stack, its files, as in "proj/*.tif".
        angles: path inside the file of the view angles, or a .txt, .csv or .npy file of degrees.
        flats: likewise of frames of the open beam.
        darks: likewise of frames without beam.
    """

    entry: str | None = None
    data: str | None = None
    angles: str | None = None
    flats: str | None = None
    darks: str | None = None
