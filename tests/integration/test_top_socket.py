# SPDX-License-Identifier: Apache-2.0
"""The socket that a process answers `otel-memory top` on."""

from __future__ import annotations

import tempfile

import pytest

from .isolated_support import UNTRACED, cases, run_case

pytestmark = pytest.mark.extension


@pytest.mark.parametrize(("script", "case"), cases("top_socket.py"))
def test_it_is_so(script, case):
    # A socket's path may have 107 bytes; pytest's own directories are longer.
    with tempfile.TemporaryDirectory(prefix="top-") as directory:
        variables = {"TMPDIR": directory, "XDG_RUNTIME_DIR": directory}
        run_case(script, case, **variables, **UNTRACED)
