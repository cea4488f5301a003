# SPDX-License-Identifier: Apache-2.0
"""What the operating system says about this process's memory and its limit.

Every reading is `None` when it cannot be had: not on this platform, the file has
vanished, or is cut short. Nothing here raises for that. Readings follow a fork:
they are always those of the process that asks.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from otel_memory.process._figures import (
    Details,
    Faults,
    LimitEvents,
    Pressure,
    Resident,
)
from otel_memory.process._procfs import ProcfsReadings
from otel_memory.process._psutil import PsutilReadings
from otel_memory.process._statm import StatmReader

__all__ = [
    "Details",
    "Faults",
    "LimitEvents",
    "Pressure",
    "ProcfsReadings",
    "PsutilReadings",
    "Readings",
    "Resident",
    "StatmReader",
    "open_readings",
]

Readings: TypeAlias = ProcfsReadings | PsutilReadings


def open_readings(root: str = "/") -> Readings:
    """Choose procfs where there is one, else psutil."""
    has_procfs = os.path.exists(os.path.join(root, "proc/self/statm"))
    return ProcfsReadings(root) if has_procfs else PsutilReadings()
