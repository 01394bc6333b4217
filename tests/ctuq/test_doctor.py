"""What `ctuq doctor` finds, with trials as short as they can be."""

import subprocess
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import astra
import pytest

from ctuq import doctor
from ctuq.doctor import Finding, diagnose
from ctuq.trials import NetworkTrial, try_network
from operators import RayTransform

# Of one core of the machine that the saved scans ran on.
TRIAL = NetworkTrial(forward=70.0, pushes=21.3, pulls=34.8, fit_steps=40.8)


@pytest.fixture(autouse=True)
def trials_of_known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_network", lambda **_: TRIAL)
    monkeypatch.setattr(doctor, "try_algebra", lambda **_: 9.4e10)
    monkeypatch.setattr(doctor, "available_memory", lambda: 16 * 2**30)


def finding(name: str) -> Finding:
    return next(found for found in diagnose(trial_seconds=0.0) if found.name == name)


def test_names_versions_and_the_machine() -> None:
    found = {finding.name: finding for finding in diagnose(trial_seconds=0.0)}
    assert found["torch"].status == found["astra-toolbox"].status == found["memory"].status == "ok"
    assert "usable" in found["CPU cores"].detail
    assert all(finding.detail for finding in found.values())


def test_little_memory_is_said_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda: 40_000_000)
    assert "40.0 MB of it available" in finding("memory").detail


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
def test_the_cpu_matrix_has_an_exact_adjoint(kind: str) -> None:
    found = finding(f"{kind}-beam rays, CPU")
    assert found.status == "ok"
    assert "adjoint error" in found.detail
    assert found.figures["adjoint_error"] < 1e-12
    assert found.figures["projections"] > 0 < found.figures["back_projections"]


def test_ten_minutes_are_told_by_the_estimate_of_check() -> None:
    found = {one.name: one for one in diagnose(trial_seconds=0.0)}
    first = found["in 10 minutes, 128 × 128 pixels"]
    assert first.figures["rays"] % 128 == 0
    assert f"up to {first.figures['rays']:,} rays" in first.detail
    # One core against the two that check speaks of: 1.8 on the real scans.
    check = found["times of ctuq check"]
    assert check.figures["factor"] == pytest.approx(1.9, abs=0.15)
    assert "to about a third" in check.detail


def test_a_machine_too_slow_for_any_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_network", lambda **_: NetworkTrial(0.1, 0.02, 0.02, 0.05))
    assert "not even" in finding("in 10 minutes").detail


def test_other_jobs_are_blamed_where_they_took_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0])
    monkeypatch.setattr(doctor, "time", SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 1.0))
    assert "other jobs left this one" in doctor._speed("cpu", 0.0)[-1].detail


def test_progress_is_told_from_none_to_all() -> None:
    told: list[tuple[str, int, int]] = []

    def on_step(stage: str, done: int, total: int, _: Mapping[str, float]) -> None:
        told.append((stage, done, total))

    diagnose(on_step, trial_seconds=0.0)
    total = told[0][2]
    assert told == [("measure", done, total) for done in range(total + 1)]


def test_a_network_passes_at_some_speed() -> None:
    found = try_network(device="cpu", seconds=0.0)
    assert min(vars(found).values()) > 0
    assert found.forward > found.pulls  # a product with the Jacobian is a pass and more


def test_an_adjoint_that_is_off_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RayTransform.adjoint
    monkeypatch.setattr(RayTransform, "adjoint", lambda self, y: original(self, y) * 1.001)
    assert finding("fan-beam rays, CPU").status == "problem"


def test_a_projector_that_fails_is_named_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no projector today")

    monkeypatch.setattr(doctor, "RayTransform", broken)
    found = finding("parallel-beam rays, CPU")
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
