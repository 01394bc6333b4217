from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ctuq.batch_names import assign_names

FOLDERS = st.sampled_from(["/a", "/b", "/a/c", "/b/c", "/A"])
STEMS = st.sampled_from(["scan", "Scan", "tooth", "index", "scan-c", "x.y"])
FILES = st.lists(
    st.tuples(st.builds(lambda f, s, e: Path(f) / f"{s}{e}", FOLDERS, STEMS, st.sampled_from([".h5", ".nxs"])),
              st.just(""), st.just(False)),
    unique=True,
)  # fmt: skip


@given(files=FILES, reverse=st.booleans())
def test_names_are_unique_whatever_the_capitals_and_do_not_depend_on_the_order(
    files: list[tuple[Path, str, bool]], reverse: bool
) -> None:
    names = assign_names(files, {})
    assert set(names) == {(path, entry) for path, entry, _ in files}
    folded = [name.casefold() for name in names.values()]
    assert len(set(folded)) == len(folded)
    assert "index" not in folded
    assert assign_names(files[::-1] if reverse else files, {}) == names


@given(first=FILES, more=FILES)
def test_a_name_once_given_stays(first: list[tuple[Path, str, bool]], more: list[tuple[Path, str, bool]]) -> None:
    before = assign_names(first, {})
    after = assign_names([*first, *more], {name: owner for owner, name in before.items()})
    assert before.items() <= after.items()
    folded = [name.casefold() for name in after.values()]
    assert len(set(folded)) == len(folded)


def test_a_file_is_called_by_its_name_and_by_its_folder_where_several_share_it() -> None:
    files = [(Path("/in/monday/scan.h5"), "", False), (Path("/in/tuesday/scan.h5"), "", False)]
    lone = (Path("/in/tooth.nxs"), "", False)
    assert list(assign_names([*files, lone], {}).values()) == ["tooth", "scan-monday", "scan-tuesday"]


def test_entries_of_one_file_are_told_apart() -> None:
    path = Path("/in/scan.h5")
    names = assign_names([(path, "/exchange", True), (path, "exchange_1/raw", True)], {})
    assert names == {(path, "/exchange"): "scan-exchange", (path, "exchange_1/raw"): "scan-exchange_1-raw"}


def test_endings_tell_files_of_one_folder_apart_wherever_that_folder_is() -> None:
    for root in ("/here", "/there/deeper"):
        one = [Path(root) / "day" / name for name in ("sim.h5", "sim.toml")]
        assert list(assign_names([(path, "", False) for path in one], {}).values()) == ["sim-h5", "sim-toml"]
        two = [*one, *(Path(root) / "night" / path.name for path in one)]
        names = assign_names([(path, "", False) for path in two], {}).values()
        assert sorted(names) == ["sim-day-h5", "sim-day-toml", "sim-night-h5", "sim-night-toml"]
