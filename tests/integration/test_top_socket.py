# SPDX-License-Identifier: Apache-2.0
"""The socket that a process answers `otel-memory top` on."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile

import pytest

from .isolated_support import ISOLATED, TIMEOUT_SECONDS, UNTRACED, cases, environment

# The address sanitizer does not survive a fork in the middle of another thread's
# malloc.
pytestmark = [pytest.mark.extension, pytest.mark.exact]

SCRIPT = "top_socket.py"


@pytest.fixture(scope="module")
def interpreter():
    """One that runs cases in children of its own."""
    with subprocess.Popen(
        [sys.executable, str(ISOLATED / SCRIPT)],
        env=environment(**UNTRACED),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize(("script", "case"), cases(SCRIPT))
def test_it_is_so(interpreter, script, case):
    with (
        # A socket's path may have 107 bytes; pytest's own directories are longer.
        tempfile.TemporaryDirectory(prefix="top-") as directory,
        tempfile.NamedTemporaryFile("r") as output,
    ):
        variables = {"TMPDIR": directory, "XDG_RUNTIME_DIR": directory}
        asked = {"case": case, "variables": variables, "output": output.name}
        print(json.dumps(asked), file=interpreter.stdin, flush=True)
        if not select.select([interpreter.stdout], [], [], TIMEOUT_SECONDS)[0]:
            os.killpg(interpreter.pid, signal.SIGKILL)  # It hangs.
        assert interpreter.stdout.readline() == "0\n", output.read()
