# SPDX-License-Identifier: Apache-2.0
"""Readings of this process where there is no procfs."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

from otel_memory.process._figures import (
    Details,
    Faults,
    LimitEvents,
    Pressure,
    Resident,
)


class PsutilReadings:
    """Readings of this process where there is no procfs."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - takes 10 ms, which Linux need not pay

        self._psutil = psutil
        self._process = psutil.Process()
        try:
            self._resource: Any = import_module("resource")
        except ImportError:  # Windows.
            self._resource = None

    def _ask(self, method: str) -> Any:
        try:
            if self._process.pid != os.getpid():  # After a fork.
                self._process = self._psutil.Process()
            return getattr(self._process, method)()
        except (self._psutil.Error, OSError):
            return None

    def resident(self) -> Resident | None:
        """Read resident memory; the anonymous part is not known."""
        memory = self._ask("memory_info")
        return None if memory is None else Resident(memory.rss, None)

    def virtual_bytes(self) -> int | None:
        """Read the size of the address space."""
        return getattr(self._ask("memory_info"), "vms", None)

    def peak_bytes(self) -> int | None:
        """Read the largest resident set size so far, which only Windows tells."""
        return getattr(self._ask("memory_info"), "peak_wset", None)

    def uptime_seconds(self) -> float | None:
        """Read the time since the process started."""
        created_seconds = self._ask("create_time")
        if created_seconds is None:
            return None
        return max(time.time() - float(created_seconds), 0.0)

    def faults(self) -> Faults | None:
        """Read page faults so far."""
        if self._resource is None:
            return None
        usage = self._resource.getrusage(self._resource.RUSAGE_SELF)
        return Faults(usage.ru_minflt, usage.ru_majflt)

    def details(self) -> Details | None:
        """Read what takes milliseconds, as far as the platform tells."""
        memory = self._ask("memory_full_info")
        figures = (getattr(memory, name, None) for name in ("uss", "pss", "swap"))
        details = Details(*figures)
        return None if details == (None, None, None) else details

    def limit_bytes(self) -> int | None:
        """Know no limit."""
        return None

    def limit_usage_bytes(self) -> int | None:
        """Know no limit."""
        return None

    def limit_events(self) -> LimitEvents | None:
        """Know no limit."""
        return None

    def pressure(self) -> Pressure | None:
        """Know no pressure."""
        return None
