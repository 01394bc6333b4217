"""Removing the stripes of a sinogram that become rings in an image, by algotom, which is an optional library."""

from __future__ import annotations

import importlib
from dataclasses import replace
from types import ModuleType
from typing import Literal

import numpy as np
import torch

from ctuq.errors import InputError
from ctuq.processing_step import ProcessingStep
from ctuq.scan import Scan

RingMethod = Literal["sorting", "filtering", "all"]

_FUNCTIONS: dict[RingMethod, str] = {
    "sorting": "remove_stripe_based_sorting",
    "filtering": "remove_stripe_based_filtering",
    "all": "remove_all_stripe",
}
# Thrice the widest window of each.
_FEWEST_COLUMNS: dict[RingMethod, int] = {"sorting": 63, "filtering": 63, "all": 153}


def remove_rings(scan: Scan, method: RingMethod) -> Scan:
    """The scan without stripes (Vo, Atwood and Drakopoulos 2018, Optics Express 26, 28396), at algotom's own settings.

    The noise's variances stay as they were: stripe removal changes line integrals by its own estimate of what columns
    have in common, and does not say how sure that is.

    Raises:
        InputError: algotom is not installed, or its windows are too wide for the detector.
    """
    fewest, n_detectors = _FEWEST_COLUMNS[method], scan.geometry.n_detectors
    if n_detectors < fewest:
        raise InputError(
            f"expected at least {fewest} detector pixels for preprocessing.rings={method}, got {n_detectors}: its "
            "windows would take the object for a stripe"
        )
    before = scan.sinogram.cpu().numpy()
    after = torch.as_tensor(np.asarray(getattr(require_algotom(), _FUNCTIONS[method])(before), dtype=np.float32))
    change = after.numpy() - before
    numbers = {"largest_change": float(np.abs(change).max()), "rms_change": float(np.sqrt(np.square(change).mean()))}
    text = (
        f"removed stripes by algotom's {_FUNCTIONS[method]}: line integrals changed by {numbers['rms_change']:.2g} "
        f"(root mean square), {numbers['largest_change']:.2g} at most"
    )
    step = ProcessingStep("ring removal", text, dict(numbers))
    return replace(scan, sinogram=after.to(scan.sinogram.device), steps=(*scan.steps, step))


def require_algotom() -> ModuleType:
    """Its module of stripe removal.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("algotom.prep.removal")
    except ImportError as error:
        raise InputError(
            f"expected algotom for preprocessing.rings, which cannot be imported ({error}): pip install 'ctuq[rings]', "
            "or set preprocessing.rings=none"
        ) from error
