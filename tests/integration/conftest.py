# SPDX-License-Identifier: Apache-2.0
"""What tests of several files need built."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig

import pytest

from .isolated_support import ISOLATED, TIMEOUT_SECONDS


@pytest.fixture(scope="session")
def clock_ahead(tmp_path_factory):
    """The library `clock_ahead`, which is preloaded."""
    built = tmp_path_factory.mktemp("clock_ahead") / "clock_ahead.so"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
    source = ISOLATED / "clock_ahead" / "clock_ahead.c"
    subprocess.run(
        [*compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(built)],
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    return built
