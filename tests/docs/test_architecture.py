"""What docs/architecture names exists: files, functions, layers, SQL files."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "holdfast"
FOLDER = ROOT / "docs" / "architecture"
PAGES = sorted(file.name for file in FOLDER.glob("*.md"))
TEXTS = {name: (FOLDER / name).read_text("utf-8") for name in PAGES}
TEXTS["critiques.md"] = (FOLDER.parent / "critiques.md").read_text("utf-8")
OTHERS = {"httpx/_transports/base.py", "_executor.py"}
"""Files of other projects that pages speak of."""


@cache
def names_in(file: Path) -> frozenset[str]:
    """Functions, classes and constants of a module, and what its classes have: ``Class.name``."""
    found = set()

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(before + node.name)
            targets: list[ast.expr] = []
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{node.name}.")
                targets = [
                    target
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Assign | ast.AnnAssign)
                    for target in (
                        inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                    )
                ]
                found.update(
                    f"{node.name}.{target.attr}"
                    for target in targets
                    if isinstance(target, ast.Attribute)
                )
            elif isinstance(node, ast.Assign):
                found.update(
                    before + target.id for target in node.targets if isinstance(target, ast.Name)
                )

    walk(ast.parse(file.read_text("utf-8")).body, "")
    return frozenset(found)


def found(path: str) -> Path | None:
    for base in (SOURCE, ROOT, SOURCE / "ledgers" / "sql"):
        if (base / path).exists():
            return base / path
    return None


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_file_and_function_that_it_names_exists(page: str) -> None:
    spans = re.findall(r"`([\w./-]+?\.(?:py|sql|toml))(?::([\w.]+))?`", TEXTS[page])
    spans += [(path, "") for path in re.findall(r"`((?:core|tests)/[\w/]+)`", TEXTS[page])]
    assert spans or page == "README.md"
    for path, name in spans:
        if path in OTHERS:
            continue
        file = found(path)
        assert file is not None, path
        assert not name or name in names_in(file), f"{path}:{name}"


def test_every_page_is_in_the_list() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", TEXTS["README.md"])
    assert sorted(linked) == sorted(set(PAGES) - {"README.md"})


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    table = TEXTS["what-may-this-package-import.md"]
    rows = re.findall(r"^\| `([^`]+)` \| (?!only)", table.split("## What the two")[0], re.MULTILINE)
    assert [row.replace("\\|", "|") for row in rows] == layers


def test_every_sql_file_is_explained_once() -> None:
    text = TEXTS["what-does-this-sql-serve.md"]
    named = re.findall(r"`((?:shared|sqlite|postgres)/[\w/]+\.sql)`", text.split("| file |")[1])
    files = [
        file
        for file in SOURCE.rglob("*.sql")
        if "migrations" not in file.parts or file.name.startswith("0001")
    ]
    there = [str(file.relative_to(SOURCE / "ledgers" / "sql")) for file in files]
    assert sorted(named) == sorted(there)


def test_named_modules_read_the_file_beside_them() -> None:
    """In the table of SQL, each module that is named uses a query of that row's files."""
    for row in re.findall(r"^\| `\w+/.*$", TEXTS["what-does-this-sql-serve.md"], re.MULTILINE):
        files, _, modules = row.strip("| ").split(" | ")
        sql = "".join(
            (SOURCE / "ledgers/sql" / file).read_text() for file in re.findall(r"`([^`]+)`", files)
        )
        queries = set(re.findall(r"^-- name: (\w+)", sql, re.MULTILINE))
        if not queries or "audit" in files:  # names of audit queries are put together
            continue
        for module in re.findall(r"`([^`]+)`", modules):
            text = (SOURCE / module.partition(":")[0]).read_text("utf-8")
            assert queries & set(re.findall(r"[\"'](\w+)[\"']", text)), (files, module)
