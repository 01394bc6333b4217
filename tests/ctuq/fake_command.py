"""What the tests of the command line share: a reconstruction that computes nothing, and the names in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ctuq.reconstruction import Reconstruction
from ctuq.scan import Scan
from tests.ctuq.fake_results import fake_provenance, fake_reconstruction

OnStep = Callable[[str, int, int, Mapping[str, float]], None]


class FakeReconstruct:
    """Stands in for `ctuq.reconstruct`: takes its steps, remembers what it was asked, may fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, str]] = []
        self.failure: BaseException | None = None
        self.found = fake_reconstruction(provenance=fake_provenance(notes=("beware",)))

    def __call__(
        self,
        scan: Scan,
        config: object = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        on_step: OnStep | None = None,
        neighbour: object = None,
    ) -> Reconstruction:
        self.calls.append((scan.name, seed, device))
        assert on_step is not None
        for done in range(3):
            on_step("fit", done, 2, {"loss": 1.0 / (done + 1)})
        if self.failure is not None:
            raise self.failure
        return replace(self.found, provenance=replace(self.found.provenance, scan_name=scan.name, seed=seed))


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())
