# SPDX-License-Identifier: Apache-2.0
"""No function of the C extension leaves memory, references or descriptors behind."""

from __future__ import annotations

import ast

import pytest

from .isolated_support import ISOLATED, output, run

pytestmark = [pytest.mark.extension, pytest.mark.leak]

SCRIPT = ISOLATED / "leak_loop.py"
PREFIX = "loop_"
LOOPS = [
    node.name.removeprefix(PREFIX)
    for node in ast.parse(SCRIPT.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX)
]
# Writes where it must not, on purpose; only in builds for the sanitizers.
NOT_CALLED = {"plant_overflow"}


# With PYTHONMALLOC=malloc the C library's figure is exact for Python's objects, too.
@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
@pytest.mark.parametrize("name", LOOPS)
def test_nothing_piles_up(name, allocator):
    done = run(SCRIPT, name, PYTHONMALLOC=allocator)
    assert done.returncode == 0, output(done)


def test_every_function_has_a_loop():
    from otel_memory.heap import _core

    functions = {name for name in dir(_core) if callable(getattr(_core, name))}
    functions = {name for name in functions if not name.startswith("__")}
    assert functions - NOT_CALLED <= set(LOOPS)
    assert {"pairs", "wrap", "install"} <= functions
