"""Files of results: figures, and what a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"


def environment() -> dict[str, object]:
    """Versions, processor, cores and threads, and the GPU where there is one."""
    capabilities = torch.cpu.get_capabilities()
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "astra-toolbox")},
        "processor": f"{capabilities.get('cpu_name')} {platform.machine()}",
        "matrix_units": bool(capabilities.get("amx_bf16")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def save(name: str, figures: Mapping[str, object]) -> Path:
    """Write figures and environment to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), **figures}, indent=1) + "\n")
    return path


def results(name: str) -> dict[str, Any]:
    """One file of results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found
