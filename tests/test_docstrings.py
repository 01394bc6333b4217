"""Every public name says what it is, what it is handed and which errors it raises."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ctuq
import design
import dip
import operators

PUBLIC = [(package, name) for package in (ctuq, design, dip, operators) for name in package.__all__]
Function = ast.FunctionDef


def tree_of(package: ModuleType, name: str) -> tuple[ast.Module, ast.stmt]:
    """The module in which a name is made, and the statement that makes it."""
    init = Path(str(package.__file__))
    stub = init.with_suffix(".pyi")  # where names are imported when they are first used
    package_tree = ast.parse((stub if stub.exists() else init).read_text(encoding="utf-8"))
    (module_name,) = {
        statement.module
        for statement in package_tree.body
        if isinstance(statement, ast.ImportFrom) and name in {alias.name for alias in statement.names}
    }
    full_name = f"{package.__name__}.{str(module_name).removeprefix(package.__name__ + '.')}"
    module = ast.parse(inspect.getsource(importlib.import_module(full_name)))
    (made,) = (statement for statement in module.body if name in names_made(statement))
    return module, made


def names_made(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def arguments(function: Function) -> list[str]:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def unknown(doc: str, known: list[str], where: str) -> Iterator[str]:
    """What the section Args has that is not there."""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", doc, flags=re.MULTILINE)
    named = re.findall(r"^ {4}(\w+): ", section[1], flags=re.MULTILINE) if section else []
    yield from (f"{where}: no {name}" for name in named if name not in known)


def lacking(function: Function, where: str, doc: str) -> Iterator[str]:
    """What a public function's docstring leaves out."""
    if not doc:
        yield f"{where}: a docstring"
    if len(arguments(function)) > 2:
        yield from (f"{where}: {name}" for name in arguments(function) if f" {name}: " not in doc)
    yield from unknown(doc, arguments(function), where)
    yield from unnamed_errors(function, where, doc)


def unnamed_errors(function: Function, where: str, doc: str) -> Iterator[str]:
    raised = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc is not None]
    for error in raised:
        named = ast.unparse(error.func if isinstance(error, ast.Call) else error)
        if named[0].isupper() and f" {named.rpartition('.')[2]}: " not in doc.replace("torch.linalg.", ""):
            yield f"{where}: raises {named}"


def lacking_of_class(found: ast.ClassDef) -> Iterator[str]:
    doc = ast.get_docstring(found) or ""
    if not doc:
        yield f"{found.name}: a docstring"
    fields = [
        part.target.id for part in found.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    ]
    yield from (f"{found.name}: {name}" for name in fields if not name.startswith("_") and f" {name}: " not in doc)
    made_of = [part for part in found.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    yield from unknown(doc, [*fields, *(name for part in made_of for name in arguments(part))], found.name)
    for part in found.body:
        if not isinstance(part, ast.FunctionDef):
            continue
        where = f"{found.name}.{part.name}"
        if part.name in ("__init__", "__post_init__"):
            yield from (f"{where}: {name}" for name in arguments(part) if f" {name}: " not in doc)
            yield from unnamed_errors(part, where, doc)
        elif not part.name.startswith("_"):
            yield from lacking(part, where, ast.get_docstring(part) or "")


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda value: getattr(value, "__name__", value))
def test_docstring_is_complete(package: ModuleType, name: str) -> None:
    module, made = tree_of(package, name)
    if isinstance(made, ast.FunctionDef):
        missing = list(lacking(made, name, ast.get_docstring(made) or ""))
    elif isinstance(made, ast.ClassDef):
        missing = list(lacking_of_class(made))
    else:
        after: Any = module.body[module.body.index(made) + 1]
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        missing = [] if is_text else [f"{name}: a docstring below it"]
    assert missing == []
