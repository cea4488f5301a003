# SPDX-License-Identifier: Apache-2.0
"""Spans carry what they took, under the names that they have in the end."""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case

pytestmark = pytest.mark.extension


@pytest.mark.parametrize(
    ("script", "case"),
    cases("span_attributes.py", "span_names.py", "span_errors.py", "span_fastapi.py"),
)
def test_a_real_sdk_shows_it(script, case):
    run_case(script, case)
