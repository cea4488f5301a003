# SPDX-License-Identifier: Apache-2.0
"""What spans say of the process's memory without the counting core."""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case


@pytest.mark.parametrize(("script", "case"), cases("rss_exclusive.py"))
def test_exclusive_is_true_again(script, case):
    run_case(script, case)
