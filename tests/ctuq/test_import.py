"""What `import ctuq` costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import ctuq


def test_importing_loads_neither_torch_nor_astra() -> None:
    loaded = "import sys, ctuq; print({'torch', 'astra', 'h5py', 'matplotlib'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_names_come_when_they_are_asked_for() -> None:
    (listed,) = re.findall(r"__all__ = (\[.*?\])", Path(str(ctuq.__file__) + "i").read_text(), flags=re.DOTALL)
    assert ast.literal_eval(listed) == ctuq.__all__ == dir(ctuq)
    for name in ctuq.__all__:
        assert getattr(ctuq, name).__module__.startswith("ctuq.")
