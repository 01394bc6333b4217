from __future__ import annotations

from pathlib import Path

from tests.benchmarks.damaged_batch import judge


def test_a_twentieth_of_the_damaged_inputs_are_failures_and_no_more(tmp_path: Path) -> None:
    found = judge(tmp_path, share=0.05, seed=11)
    assert found["failed_in_batch"] == found["refused_alone"] > 0
    assert (found["not_settled"], found["not_in_manifest"]) == (0, 0)
