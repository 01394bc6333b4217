"""ctuq: computed tomography with error bars that can be checked."""

from ctuq.angle_plan import AnglePlan
from ctuq.config import Config, load_config
from ctuq.errors import CtuqError, InputError
from ctuq.planning import plan
from ctuq.reconstruct import reconstruct
from ctuq.reconstruction import Reconstruction
from ctuq.result_file import read_result
from ctuq.scan import Scan
from ctuq.scan_file import read_scan
from ctuq.source_choice import SourceChoice

__all__ = [
    "AnglePlan",
    "Config",
    "CtuqError",
    "InputError",
    "Reconstruction",
    "Scan",
    "SourceChoice",
    "load_config",
    "plan",
    "read_result",
    "read_scan",
    "reconstruct",
]
