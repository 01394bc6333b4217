from .angle_plan import AnglePlan
from .config import Config, load_config
from .errors import CtuqError, InputError
from .planning import plan
from .reconstructing import reconstruct
from .reconstruction import Reconstruction
from .result_file import read_result
from .scan import Scan
from .scan_file import read_scan
from .source_choice import SourceChoice

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
