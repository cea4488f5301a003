# SPDX-License-Identifier: Apache-2.0
"""Readings of this process from procfs and cgroups."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TypeAlias

from otel_memory.process._cgroups import Cgroups
from otel_memory.process._figures import (
    Details,
    Faults,
    LimitEvents,
    Pressure,
    Resident,
)
from otel_memory.process._files import number, read
from otel_memory.process._statm import StatmReader
from otel_memory.semconv import PRESSURE_CGROUP, PRESSURE_MACHINE

_PEAK = re.compile(r"^VmHWM:\s+([0-9]{1,16}) kB$", re.MULTILINE)
# Of what follows the parenthesised command name in /proc/PID/stat.
_STAT_MINOR_FAULTS = 7
_STAT_MAJOR_FAULTS = 9
_STAT_START_TIME = 19
_STATM_FIELDS = 7
_MAPPINGS = re.compile(
    r"^(Pss|Private_Clean|Private_Dirty|Private_Hugetlb|Swap): +([0-9]{1,16}) kB$",
    re.MULTILINE,
)
_STALL = re.compile(r"^(some|full) .*\btotal=([0-9]{1,20})$", re.MULTILINE)

_Clock: TypeAlias = Callable[[], float]


def _boottime_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _stalls(text: str, scope: str) -> Pressure | None:
    """Read a file of pressure stall information, whose totals are microseconds."""
    seconds = {name: int(total) / 1e6 for name, total in _STALL.findall(text)}
    if "some" not in seconds:
        return None
    return Pressure(scope, seconds["some"], seconds.get("full"))


class ProcfsReadings:
    """Readings of this process from procfs and cgroups.

    May be called on any thread.

    Args:
        root: Where `proc` and `sys` lie; a recorded tree under test.
        clock: Seconds since the system's start, which start times are counted from.
    """

    def __init__(self, root: str = "/", *, clock: _Clock = _boottime_seconds) -> None:
        self._self = os.path.join(root, "proc/self")
        self._machine_pressure = os.path.join(root, "proc/pressure/memory")
        self._statm = StatmReader(root)
        self._cgroups = Cgroups(root)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        self._clock = clock

    def resident(self) -> Resident | None:
        """Read resident and anonymous memory together."""
        return self._statm.read()

    def virtual_bytes(self) -> int | None:
        """Read the size of the address space."""
        fields = (read(f"{self._self}/statm") or "").split()
        pages = number(fields[0]) if len(fields) == _STATM_FIELDS else None
        return None if pages is None else pages * self._page_bytes

    def peak_bytes(self) -> int | None:
        """Read the largest resident set size so far."""
        match = _PEAK.search(read(f"{self._self}/status") or "")
        return int(match[1]) * 1024 if match else None

    def uptime_seconds(self) -> float | None:
        """Read the time since the process started, suspended time included."""
        (start_ticks,) = self._stat(_STAT_START_TIME)
        if start_ticks is None:
            return None
        return max(self._clock() - start_ticks / self._ticks_per_second, 0.0)

    def faults(self) -> Faults | None:
        """Read page faults so far."""
        minor, major = self._stat(_STAT_MINOR_FAULTS, _STAT_MAJOR_FAULTS)
        return None if minor is None or major is None else Faults(minor, major)

    def details(self) -> Details | None:
        """Read what takes milliseconds in a large process."""
        rollup = read(f"{self._self}/smaps_rollup") or ""
        found = {name: int(kib) * 1024 for name, kib in _MAPPINGS.findall(rollup)}
        try:
            uss_bytes = found["Private_Clean"] + found["Private_Dirty"]
            # Swap comes after huge pages: these are not cut off, but not there.
            pss_bytes, swap_bytes = found["Pss"], found["Swap"]
        except KeyError:
            return None
        uss_bytes += found.get("Private_Hugetlb", 0)
        return Details(uss_bytes, pss_bytes, swap_bytes)

    def limit_bytes(self) -> int | None:
        """Read the smallest memory limit of the process's cgroup and its ancestors."""
        return self._cgroups.limit_bytes()

    def limit_usage_bytes(self) -> int | None:
        """Read what counts against the limit and cannot be reclaimed.

        That is what is used in the cgroup whose limit holds, without file cache.
        """
        return self._cgroups.limit_usage_bytes()

    def limit_events(self) -> LimitEvents | None:
        """Read how often the cgroup whose limit holds, else our own, reached limits."""
        return self._cgroups.events()

    def pressure(self) -> Pressure | None:
        """Read how long tasks waited for memory: our cgroup's, else the machine's."""
        own = self._cgroups.pressure()
        if own is not None:
            return _stalls(own, PRESSURE_CGROUP)
        return _stalls(read(self._machine_pressure) or "", PRESSURE_MACHINE)

    def _stat(self, *wanted: int) -> list[int | None]:
        # The command's name is in parentheses and may contain spaces and more.
        _, _, after = (read(f"{self._self}/stat") or "").rpartition(")")
        fields = after.split()
        known = len(fields) > max(wanted)
        return [number(fields[field]) if known else None for field in wanted]
