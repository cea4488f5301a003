# SPDX-License-Identifier: Apache-2.0
"""Entries, collections and traffic: what a heap source tells beside its rows."""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case


@pytest.mark.extension
@pytest.mark.parametrize(
    ("script", "case"), cases("entries_spans.py", "entries_counts.py")
)
def test_a_native_source_tells_it(script, case):
    run_case(script, case)


@pytest.mark.parametrize(("script", "case"), cases("entries_off.py"))
def test_any_source_tells_it(script, case):
    run_case(script, case)
