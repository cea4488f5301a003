# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, and heavy or foreign ones stay where they belong."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "otel_memory"

# A room may import from its own row and from those above it.
ROWS = (
    {"semconv", "errors", "units", "sites"},
    {
        *("config", "_settings", "span_filter", "process", "heap", "leaks", "_guard"),
        *("findings", "_schedule", "_background"),
    },
    {
        *("spans", "rss_spans", "figures", "functions", "configured", "metrics"),
        *("profile", "watcher", "snapshot", "profile_signal", "top_socket"),
        "top_directory",
        *("alerts", "_evidence", "_handlers", "_messages"),
    },
    {"instrumentor"},
    {"cli", "pytest_plugin", "__main__"},
)
# What stands beside the rows, with all that it may import of ours.
ASIDE = {
    "recording": {"recording", "semconv", "units", "leaks", "errors", "sites"},
    # Runs in the instrumented process, so it needs the receiver and the guard.
    "recording.exporters": {"recording", "semconv", "config", "_guard"},
    # Writes a recording from within the instrumented process.
    "snapshot": set().union(*ROWS[:3], {"recording"}),
    "__init__": set().union(*ROWS[:4]),
}
# The lowest two rows are usable and testable without OpenTelemetry; psutil is for
# platforms without procfs.
THIRD_PARTY_OF_LOWEST = {"process._psutil": {"psutil"}}
ENVIRONMENT_READERS = {"config", "cli"}


def module_name(path: Path) -> str:
    """Name a file within the package: `heap`, `recording.exporters`."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
# Modules in C: they import nothing of ours, and have a stub in place of a source.
STUBS = {module_name(path) for path in (ROOT / PACKAGE).rglob("*.pyi")}


def room_of(module: str) -> str:
    return module.split(".")[0]


def absolute_imports(module: str) -> Iterator[str]:
    """List what a module imports, deferred and type-checking imports included."""
    path = MODULES[module]
    package = (PACKAGE, *path.relative_to(ROOT / PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def our_imports(module: str) -> set[str]:
    """List the modules of ours that a module imports, by their longest known name."""
    found = set()
    for name in absolute_imports(module):
        if name.split(".")[0] != PACKAGE:
            continue
        parts = name.split(".")[1:]
        known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        found.add(next((m for m in known if m in MODULES or m in STUBS), "__init__"))
    return found


def foreign_imports(module: str) -> set[str]:
    roots = {name.split(".")[0] for name in absolute_imports(module)}
    return roots - sys.stdlib_module_names - {PACKAGE}


def allowed_rooms(module: str) -> set[str]:
    for aside in (module, room_of(module)):
        if aside in ASIDE:
            return ASIDE[aside]
    for number, row in enumerate(ROWS):
        if room_of(module) in row:
            allowed = set().union(*ROWS[: number + 1])
            is_top = number == len(ROWS) - 1
            return allowed | {"recording", "__init__"} if is_top else allowed
    pytest.fail(f"{module} has no place in the order of imports")


def modules_of(*rooms: str) -> list[str]:
    return [module for module in MODULES if room_of(module) in rooms]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_row_and_those_above(module: str) -> None:
    rooms = {room_of(imported) for imported in our_imports(module)}
    assert rooms <= allowed_rooms(module)


def test_there_are_no_cycles() -> None:
    graph = {module: our_imports(module) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", modules_of(*ROWS[0], *ROWS[1]))
def test_the_lowest_rows_need_nothing_but_python(module: str) -> None:
    assert foreign_imports(module) <= THIRD_PARTY_OF_LOWEST.get(module, set())


@pytest.mark.parametrize("module", MODULES)
def test_only_the_configuration_reads_the_environment(module: str) -> None:
    if room_of(module) in ENVIRONMENT_READERS:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    readers = {"environ", "environb", "getenv", "getenvb"}
    used = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "os"
            and node.attr in readers
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {alias.name for alias in node.names} & readers
        )
    ]
    assert used == []


@pytest.mark.parametrize("module", MODULES)
def test_the_command_lines_libraries_stay_out_of_the_instrumented_process(
    module: str,
) -> None:
    if room_of(module) in ROWS[-1]:
        return
    assert not foreign_imports(module) & {"rich", "jinja2", "click", "plotly"}


def test_the_test_sees_the_modules_and_a_violation() -> None:
    assert {"semconv", "config", "process"} <= set(MODULES)
    assert our_imports("config") == {
        *("_guard", "_settings", "semconv", "span_filter", "units"),
    }
    assert foreign_imports("process._psutil") == {"psutil"}
