import subprocess
from typing import Any

import astra
import pytest

from ctuq import doctor
from ctuq.doctor import Finding, diagnose
from operators import RayTransform


def finding(name: str) -> Finding:
    return next(found for found in diagnose() if found.name == name)


def test_names_versions_and_the_machine() -> None:
    found = {finding.name: finding for finding in diagnose()}
    assert found["torch"].status == found["astra-toolbox"].status == found["memory"].status == "ok"
    assert "usable" in found["CPU cores"].detail
    assert all(finding.detail for finding in found.values())


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_the_cpu_matrix_has_an_exact_adjoint(kind: str) -> None:
    found = finding(f"ASTRA on the CPU, {kind} beam")
    assert found.status == "ok"
    assert "adjoint error" in found.detail


def test_an_adjoint_that_is_off_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RayTransform.adjoint
    monkeypatch.setattr(RayTransform, "adjoint", lambda self, y: original(self, y) * 1.001)
    assert finding("ASTRA on the CPU, fan beam").status == "problem"


def test_a_projector_that_fails_is_named_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no projector today")

    monkeypatch.setattr(doctor, "RayTransform", broken)
    found = finding("ASTRA on the CPU, parallel beam")
    assert found.status == "problem"
    assert "no projector today" in found.detail


def test_without_a_driver_no_gpu_projector_is_ever_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("a CUDA projector was called without a driver")

    monkeypatch.setattr(astra, "use_cuda", lambda: False)
    monkeypatch.setattr(subprocess, "run", forbidden)
    assert finding("ASTRA on the GPU").status == "absent"


@pytest.mark.parametrize(
    ("returncode", "stderr", "status", "detail"),
    [
        (0, "", "ok", "values are right"),
        (1, "Traceback\nAssertionError: the projector left its output untouched\n", "problem", "output untouched"),
        (-8, "", "problem", "ended with -8"),
    ],
)
def test_the_gpu_is_probed_in_a_process_that_may_die(
    monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: str, status: str, detail: str
) -> None:
    def probe(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(astra, "use_cuda", lambda: True)
    monkeypatch.setattr(subprocess, "run", probe)
    found = finding("ASTRA on the GPU")
    assert found.status == status
    assert detail in found.detail


def test_a_probe_that_hangs_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(astra, "use_cuda", lambda: True)
    monkeypatch.setattr(subprocess, "run", hangs)
    assert "did not end within" in finding("ASTRA on the GPU").detail


@pytest.mark.gpu
@pytest.mark.skipif(not astra.use_cuda(), reason="no usable CUDA device")
def test_a_gpu_that_is_there_projects() -> None:
    assert finding("ASTRA on the GPU").status == "ok"
