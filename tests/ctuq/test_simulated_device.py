"""Whole reconstructions on a device that is not there, but strict as CUDA is about where tensors live."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.backends import cuda, cudnn

from ctuq import computing_device
from ctuq.computing_device import is_out_of_memory, require_right_rays, within_memory
from ctuq.config import Config, load_config
from ctuq.errors import CtuqError
from ctuq.reconstructing import reconstruct
from dip import NetworkJacobian, UNetSettings
from operators import MatrixMap
from tests.cases import network_jacobian
from tests.ctuq.simulated_runs import SLICES, VOLUMES
from tests.ctuq.test_judging import config, scan

# L-BFGS stops where a step gains little, which may be elsewhere when sums are taken in another order.
ALIKE = 0.02


QUICK = ("cholesky", "by samples", "a pixel depends on few others")


def run(cases: Sequence[str]) -> dict[str, dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.ctuq.simulated_runs", *cases],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {found["case"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.timeout(700)
@pytest.mark.parametrize(
    "cases",
    [QUICK, pytest.param(sorted({*SLICES, *VOLUMES} - set(QUICK)), marks=pytest.mark.slow)],
    ids=["quick", "others"],
)
def test_a_device_gives_what_the_cpu_gives(cases: Sequence[str]) -> None:
    for case, found in run(cases).items():
        assert found["image"] < 1e-4, case
        assert found["std"] < ALIKE, case
        assert found["samples"] < ALIKE, case
        assert found["on_the_cpu"], case
        assert found["plan"] == 0, case


def test_products_with_the_jacobian_do_not_take_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    real = torch.Tensor.__matmul__

    def watched(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen.append((cudnn.conv.fp32_precision, cuda.matmul.fp32_precision))  # type: ignore[attr-defined]
        return real(self, other)

    jacobian: NetworkJacobian = network_jacobian()
    local = network_jacobian(settings=UNetSettings(channels=(2,), skip_channels=()), shape=(16, 16))
    pixel = torch.zeros(16, 16, dtype=torch.float64)
    pixel[3, 4] = 1
    before = cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    jacobian.adjoint(jacobian(jacobian.weights()))
    dense = len(seen)
    local.adjoint(pixel)
    assert 2 < dense < len(seen) - 2
    assert set(seen) == {("ieee", "ieee")}
    assert cudnn.conv.fp32_precision == before  # type: ignore[attr-defined]


def test_out_of_memory_is_tried_again_with_half_the_batch_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    init = NetworkJacobian.__init__

    def small(self: NetworkJacobian, network: torch.nn.Module, given: torch.Tensor, **settings: float) -> None:
        tried.append(int(settings["batch"]))
        if settings["batch"] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it")
        init(self, network, given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(NetworkJacobian, "__init__", small)
    found = reconstruct(scan(), config("posterior.batch=8", "posterior.block=5"))
    assert tried == [8, 4, 2]
    used: Any = found.provenance.config["posterior"]
    assert (used["batch"], used["block"]) == (2, 1)
    assert "memory ran out" in found.provenance.notes[-1]
    assert "posterior.batch=2, posterior.block=1 and evidence.rows_gb=2" in found.provenance.notes[-1]


def test_what_fits_nowhere_says_what_to_try_and_other_errors_are_themselves() -> None:
    def full(_: Config) -> None:
        torch.empty(10**15)

    def wrong(_: Config) -> None:
        raise RuntimeError("something else")

    with pytest.raises(CtuqError, match=r"ran out \(.*4000000000000000 bytes.*grid\.size.*evidence\.rows_gb"):
        within_memory(full, load_config(None))
    with pytest.raises(RuntimeError, match="something else"):
        within_memory(wrong, load_config(None))
    for words in ("CUDA error: out of memory", "cuSOLVER error: CUSOLVER_STATUS_ALLOC_FAILED"):
        assert is_out_of_memory(RuntimeError(words))


def test_what_filled_the_memory_does_not_hang_on_the_error() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def full(_: Config) -> None:
        large = torch.ones(5)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(CtuqError) as kept:
        within_memory(full, load_config(None))
    assert isinstance(kept.value.__cause__, torch.OutOfMemoryError)
    assert len(held) == 4
    assert not any(one() is not None for one in held)


def test_a_fit_out_of_memory_says_what_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("ctuq.reconstructing.fit_networks", full)
    with pytest.raises(CtuqError, match=r"CUDA out of memory.*network\.channels"):
        reconstruct(scan(), config())


class _Wrong(MatrixMap):
    """A map whose adjoint is a little off on devices other than the CPU."""

    factor = 1 + 1e-6

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return super().adjoint(y) * self.factor


class _NotANumber(_Wrong):
    factor = math.nan


def test_projections_that_a_device_gets_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # The meta device stands for another one: its name counts, and tensors stay where they are.
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_a, **_k: self)
    require_right_rays(MatrixMap(matrix), "meta")
    require_right_rays(_Wrong(matrix), "cpu")
    with pytest.raises(CtuqError, match=r"projections on meta.*e-07 between them.*--device cpu"):
        require_right_rays(_Wrong(matrix), "meta")
    with pytest.raises(CtuqError, match="nan between them"):
        require_right_rays(_NotANumber(matrix), "meta")


def test_auto_is_the_cpu() -> None:
    assert computing_device.resolve_device("auto") == computing_device.resolve_device("cpu") == "cpu"
