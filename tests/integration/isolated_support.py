# SPDX-License-Identifier: Apache-2.0
"""Run scripts in processes of their own: allocator hooks stay in a process for good."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ISOLATED = Path(__file__).parents[1] / "isolated"
APPS = Path(__file__).parent / "apps"
TIMEOUT_SECONDS = 120
UNTRACED = {"COVERAGE_PROCESS_CONFIG": ""}
"""For what measures bytes: coverage's tracer allocates within the spans."""


def environment(**changes):
    """Make an environment without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return {**kept, "PYTHONFAULTHANDLER": "1", **changes}


def run(*arguments, cwd=None, timeout=TIMEOUT_SECONDS, **variables):
    """Run Python to its end; the caller looks at the exit code."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def output(done):
    """What a failing test shows of a process."""
    return f"exit {done.returncode}\n--- out\n{done.stdout}\n--- err\n{done.stderr}"


def cases(*scripts):
    """Find the cases of scripts; each becomes a test of its own."""
    found = [
        pytest.param(script, node.name, id=node.name.removeprefix("case_"))
        for script in scripts
        for node in ast.parse((ISOLATED / script).read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
    ]
    assert found
    return found


def run_case(script, case, **variables):
    """Run one case; it must succeed."""
    done = run(ISOLATED / script, case, **variables)
    assert done.returncode == 0, output(done)
    return done
