# SPDX-License-Identifier: Apache-2.0
"""No metric of the semantic conventions arrives twice, and none is missing.

Without the counting core too: these metrics do not need it.
"""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case


@pytest.mark.parametrize(("script", "case"), cases("metrics_conventions.py"))
def test_names_arrive_once(script, case):
    run_case(script, case)
