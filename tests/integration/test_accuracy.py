# SPDX-License-Identifier: Apache-2.0
"""The figures of spans against allocations of known sizes.

Runs the scripts `isolated/accuracy_*.py`, each case in a process of its own.
"""

from __future__ import annotations

import sys

import pytest

from .isolated_support import ISOLATED, UNTRACED, cases, output, run

pytestmark = pytest.mark.extension

SINCE = {"task_group": (3, 11), "uvloop_task_group": (3, 11), "eager": (3, 12)}
"""Ways to start tasks that came later than the oldest Python that is supported."""
WAYS = [
    way
    for way in ("asyncio", "uvloop", "task_group", "uvloop_task_group", "eager")
    if SINCE.get(way, (3, 0)) <= sys.version_info
]
OBJECTS = (
    "pointers",
    "growing_list",
    "growing_dict",
    "large_bytes",
    "objects",
    "strings",
    "thousand_bytes",
)


def run_accuracy(script, case, *arguments):
    done = run(
        *("-X", "faulthandler", ISOLATED / script),
        *(case.removeprefix("case_"), *arguments),
        **UNTRACED,
    )
    assert done.returncode == 0, output(done)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("script", "case"), cases("accuracy_tasks.py"))
def test_spans_of_tasks_show_what_their_own_task_did(script, case, way):
    run_accuracy(script, case, way)


@pytest.mark.parametrize("made", OBJECTS)
@pytest.mark.parametrize(("script", "case"), cases("accuracy_blocks.py"))
def test_objects_of_known_size_are_measured(script, case, made):
    run_accuracy(script, case, made)


@pytest.mark.parametrize(
    ("script", "case"),
    cases("accuracy_threads.py", "accuracy_greenlets.py"),
)
def test_spans_of_threads_and_greenlets_show_what_their_own_did(script, case):
    run_accuracy(script, case)


@pytest.mark.parametrize(("script", "case"), cases("accuracy_lifetimes.py"))
def test_spans_that_nest_or_end_late_or_never_are_measured(script, case):
    run_accuracy(script, case)


@pytest.mark.parametrize(("script", "case"), cases("accuracy_live.py"))
def test_the_live_heap_is_estimated_without_bias(script, case):
    run_accuracy(script, case)
