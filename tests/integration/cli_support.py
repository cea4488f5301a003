# SPDX-License-Identifier: Apache-2.0
"""Start the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPORTS = Path(__file__).parent / "apps" / "reports_by_hand.py"


def environment(**changes):
    """Make an environment without settings of whoever runs the tests."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("OTEL_", "COLUMNS", "LINES"))
    }
    # The applications here report by hand, and nothing else shall.
    return {**kept, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*", **changes}


def words(*arguments):
    return [sys.executable, "-m", "otel_memory.cli", *map(str, arguments)]


TIMEOUT_SECONDS = 150
"""For what takes a second or two, on a busy machine too."""


def cli(*arguments, timeout=TIMEOUT_SECONDS, **options):
    """Run `otel-memory` to its end."""
    environ = options.pop("env", None) or environment()
    return subprocess.run(
        words(*arguments),
        env=environ,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
