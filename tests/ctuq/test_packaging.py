import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed_in_the_build_and_nothing_else() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    there = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("operators", "dip", "design", "ctuq")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert listed == there


def test_every_file_that_is_not_code_travels_with_its_package() -> None:
    travelling = {
        path
        for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {
        path
        for top in ("operators", "dip", "design", "ctuq")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert there - travelling == set()


def test_every_runtime_dependency_is_pinned_for_the_tests() -> None:
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    addresses = [name for name in wanted if " @ " in name]  # of what no package index has: a tag of theirs is the pin
    assert all(re.search(r"@v\d+\.\d+\.\d+$", address) for address in addresses)
    assert {name.split(">=")[0].lower() for name in wanted if name not in addresses} <= pinned
