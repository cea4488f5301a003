# SPDX-License-Identifier: Apache-2.0
"""Why nothing may have arrived from a command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

_DISABLERS = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*",
}


def disabled_by(environ: Mapping[str, str]) -> list[str]:
    """List the settings that turn measuring off."""
    found = [
        f"{variable}={environ[variable]}"
        for variable, value in _DISABLERS.items()
        if environ.get(variable, "").strip().lower() == value
    ]
    listed = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if "otel_memory" in (name.strip() for name in listed.split(",")):
        found.append(f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={listed}")
    return found


def why_nothing_arrived(
    environ: Mapping[str, str], command: Sequence[str]
) -> list[str]:
    """Guess, in sentences, most likely first."""
    hints = [f"{setting} turns measuring off." for setting in disabled_by(environ)]
    if environ.get("OTEL_CONFIG_FILE"):
        hints.append("OTEL_CONFIG_FILE is set; its exporters are used, and not ours.")
    found = shutil.which(command[0])
    ours = os.path.dirname(sys.executable)
    is_python = os.path.basename(command[0]).startswith("python")
    if found and is_python and os.path.dirname(found) != ours:
        hints.append(f"{command[0]!r} is {found}; otel-memory is installed in {ours}.")
    return hints or ["`otel-memory doctor` checks the installation."]
