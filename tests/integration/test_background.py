# SPDX-License-Identifier: Apache-2.0
"""The background thread harms nobody; runs the cases of `isolated/background.py`."""

from __future__ import annotations

import pytest

from .isolated_support import cases, run_case

# The address sanitizer does not survive a fork in the middle of another thread's
# malloc.
pytestmark = [pytest.mark.extension, pytest.mark.exact]


@pytest.mark.parametrize(("script", "case"), cases("background.py"))
def test_the_thread(script, case):
    done = run_case(script, case)
    # Also of threads that are none of the case's: gevent tells of theirs.
    assert "Traceback" not in done.stderr, done.stderr
