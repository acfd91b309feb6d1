"""Imports point down, and what may be imported where: read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.servers import ROOT

LEVELS = [
    {"errors", "options"},
    {"index", "links", "blobs", "database", "locks", "settings", "logs", "pacing"},
    {"container", "records"},
    {"limits", "parts", "passwords"},
    {"opened", "tally"},
    {"vault"},
    {"uploads"},
    {"web"},
    {"app"},
    {"serve", "wsgi", "doctor", "admin"},
    {"cli"},
    {"__main__"},
]
"""Every module, by its first name in the package; each imports only from levels before its own."""
ONLY_IN = {
    "cryptography": {"container", "links"},
    "flask": {"web", "app"},
    "werkzeug": {"web", "app"},
    "sqlalchemy": {"database", "records", "limits", "migrations"},
    "alembic": {"database", "migrations"},
    "pydantic": {"web"},
    "gunicorn": {"serve"},
    "multipart": {"web"},
    "dotenv": {"settings"},
    "prometheus_client": {"web"},
    "click": {"cli", "options", "admin"},
}
NEVER = [
    ("web", {"blobs", "database", "records", "container"}),
    *((own, {"web", "settings", "flask", "werkzeug"}) for own in ("vault", "uploads", "opened", "parts", "passwords")),
    ("container", {"socket", "pathlib", "io", "time", "datetime", "shutil", "tempfile"}),
    *((own, {"time", "datetime", "blobs", "container"}) for own in ("database", "records", "limits")),
]
"""What a part of the package never imports, of the package or of others."""
LIGHT = {"errors", "options", "links", "container", "index", "client"}
"""What the command line may import before it knows what it is asked for."""


@dataclass(frozen=True)
class Import:
    """One import: what, and whether it is made when the module is."""

    what: str
    at_once: bool


def modules() -> list[Path]:
    """Every module of the package, and wsgi.py."""
    return [*sorted((ROOT / "onekey").rglob("*.py")), ROOT / "wsgi.py"]


def dotted(path: Path) -> str:
    """The name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in modules()}


def part(name: str) -> str:
    """What a module of ours counts as: its first name in the package; of other modules, the package."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] or "onekey" if first == "onekey" else first


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """All that a module imports, in functions too."""
    tree = ast.parse(path.read_text())
    inside = {id(node) for function in ast.walk(tree) if is_function(function) for node in ast.walk(function)}
    return tuple(
        Import(name, id(node) not in inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
    )


def is_function(node: ast.AST) -> bool:
    """Whether what is in it runs only when it is called."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules that a statement imports: `from onekey import links` imports onekey.links."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, "imports name the whole way"
    for alias in node.names:
        below = f"{node.module}.{alias.name}"
        yield below if below in NAMES else str(node.module)


def ours(path: Path) -> set[str]:
    """The modules of the package that a module imports, itself aside."""
    return {found.what for found in imports(path) if found.what in NAMES} - {dotted(path)}


def level(name: str) -> int:
    """Where a part of the package stands."""
    return next(number for number, names in enumerate(LEVELS) if name in names)


MODULES = [pytest.param(path, id=dotted(path)) for path in modules()]
PLACED = [
    pytest.param(path, id=dotted(path)) for path in modules() if part(dotted(path)) not in {"onekey", "migrations"}
]


@pytest.mark.parametrize("path", MODULES)
def test_a_module_opens_with_its_contract(path: Path) -> None:
    contract = ast.get_docstring(ast.parse(path.read_text()))
    assert contract
    assert contract.split("\n\n")[0].endswith((".", ":", ","))


def test_every_module_has_its_place() -> None:
    parts = {part(dotted(path)) for path in modules()} - {"onekey", "migrations"}
    assert parts == set().union(*LEVELS)


@pytest.mark.parametrize("path", PLACED)
def test_imports_point_down(path: Path) -> None:
    own = part(dotted(path))
    up = [name for name in ours(path) if part(name) not in {own, "onekey"} and level(part(name)) >= level(own)]
    assert up == []


@pytest.mark.parametrize("path", MODULES)
def test_others_are_imported_only_where_they_belong(path: Path) -> None:
    own = part(dotted(path))
    wrong = [found.what for found in imports(path) if own not in ONLY_IN.get(part(found.what), {own})]
    assert wrong == []


@pytest.mark.parametrize(("own", "never"), NEVER, ids=[own for own, _ in NEVER])
def test_some_are_never_imported(own: str, never: set[str]) -> None:
    found = {part(one.what) for path in modules() if part(dotted(path)) == own for one in imports(path)}
    assert found
    assert found & never == set()


@pytest.mark.parametrize("path", [path for path in modules() if part(dotted(path)) == "migrations"], ids=dotted)
def test_migrations_import_nothing_of_the_package(path: Path) -> None:
    assert ours(path) == set()


def test_the_package_itself_imports_nothing() -> None:
    assert imports(ROOT / "onekey" / "__init__.py") == ()


def test_the_command_line_imports_the_servers_parts_only_when_it_needs_them() -> None:
    at_once = {part(found.what) for found in imports(ROOT / "onekey" / "cli.py") if found.at_once}
    server = set().union(*LEVELS) - LIGHT
    assert at_once & server == set()


def test_the_command_line_starts_without_the_servers_libraries() -> None:
    code = "import sys, onekey.cli; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = [
        name
        for name in ("flask", "sqlalchemy", "alembic", "gunicorn", "pydantic", "prometheus_client")
        if f"'{name}'" in done.stdout
    ]
    assert heavy == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {dotted(path): ours(path) for path in modules()}
    left = dict(graph)
    while left:
        leaves = [name for name, below in left.items() if not below & set(left)]
        assert leaves, f"these import each other: {sorted(left)}"
        for name in leaves:
            del left[name]
