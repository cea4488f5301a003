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
TIMEOUT_SECONDS = 300
UNTRACED = {"COVERAGE_PROCESS_CONFIG": ""}
"""For what measures bytes: coverage's tracer allocates within the spans."""
EXACT = {
    # ASan takes greenlet's copying of stacks for an overflow, hands out exact sizes
    # where libc rounds up, keeps what was freed, and is not safe to fork threads with.
    "a_greenlet_that_runs_while_another_ends_a_span",
    "a_span_may_end_in_another_thread",
    "spans_that_are_recorded_only_carry_attributes",
    "values_make_sense",
    "fork",
    "cycles",
    "empty_children",
}
"""Cases that the address sanitizer's own ways upset."""


def marks_of(name):
    """Mark a case that the address sanitizer upsets."""
    return [pytest.mark.exact] if name.removeprefix("case_") in EXACT else []


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
        pytest.param(
            script,
            node.name,
            id=node.name.removeprefix("case_"),
            marks=marks_of(node.name),
        )
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
