from .angle_plan import AnglePlan
from .config import Config, load_config
from .errors import CtuqError, InputError
from .initial_weights import InitialWeights
from .neighbour import Neighbour
from .planning import plan
from .pretraining import pretrain
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
    "InitialWeights",
    "InputError",
    "Neighbour",
    "Reconstruction",
    "Scan",
    "SourceChoice",
    "load_config",
    "plan",
    "pretrain",
    "read_result",
    "read_scan",
    "reconstruct",
]
