"""Which versions of ctuq and of what it stands on make a result."""

from __future__ import annotations

import importlib.metadata

_LIBRARIES = ("ctuq", "torch", "numpy", "scipy", "astra-toolbox", "h5py")


def library_versions() -> dict[str, str]:
    """Version by package name."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}
