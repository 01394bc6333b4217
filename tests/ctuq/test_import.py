"""What `import ctuq` costs."""

from __future__ import annotations

import subprocess
import sys

import ctuq


def test_importing_loads_neither_torch_nor_astra() -> None:
    heavy = "import sys, ctuq; print([name for name in ('torch', 'astra', 'h5py', 'matplotlib') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_names_come_when_they_are_asked_for() -> None:
    assert set(dir(ctuq)) == set(ctuq.__all__)
    for name in ctuq.__all__:
        assert getattr(ctuq, name).__module__.startswith("ctuq.")
