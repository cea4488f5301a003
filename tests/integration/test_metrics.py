# SPDX-License-Identifier: Apache-2.0
"""The metrics are those of the table, stay few, and are each process's own."""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case

pytestmark = pytest.mark.extension


SCRIPTS = (
    "metrics_table.py",
    "metrics_entries.py",
    "metrics_served.py",
    "metrics_locks.py",
    "metrics_again.py",
    "span_metrics.py",
    "span_fork.py",
)


@pytest.mark.parametrize(("script", "case"), cases(*SCRIPTS))
def test_a_reader_sees_it(script, case):
    run_case(script, case)
