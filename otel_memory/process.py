# SPDX-License-Identifier: Apache-2.0
"""What the operating system says about this process's memory and its limit.

Every reading is `None` when it cannot be had: not on this platform, the file has
vanished, or is cut short. Nothing here raises for that. Readings follow a fork:
they are always those of the process that asks.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

# With its unit, so that a line cut in the middle of the number is not believed.
_PEAK = re.compile(r"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
# Of what follows the parenthesised command name in /proc/PID/stat.
_STAT_START_TIME = 19
# cgroup v1 says "no limit" with the largest page-aligned 63-bit number, which
# depends on the page size. Nothing real comes near 1 EiB.
_LIMIT_BYTES_MAX = 1 << 60
_MOUNT = re.compile(
    r"^[^ \n]+ [^ \n]+ [^ \n]+ (?P<root>[^ \n]+) (?P<mount_point>[^ \n]+) .* - "
    r"(?P<type>[^ \n]+) [^ \n]+ (?P<options>[^ \n]+)$",
    re.MULTILINE,
)

_Clock: TypeAlias = Callable[[], float]


class Resident(NamedTuple):
    """Resident memory of the process; anonymous is without file and shared pages."""

    rss_bytes: int
    anonymous_bytes: int | None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _boottime_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _OpenFile:
    """A file descriptor that closes itself with its last user.

    So a thread that still reads while another one reopens cannot read from a
    descriptor that has come to mean another file, and no lock is needed (one held
    by another thread at a fork would stay locked in the child).
    """

    __slots__ = ("_status", "fd", "pid")

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._status = os.fstat(self.fd)

    def __del__(self) -> None:
        # Daemons close every descriptor they find, and the number may by now belong
        # to a file of the application. AttributeError: it was never opened.
        with suppress(AttributeError, OSError):
            if os.path.samestat(os.fstat(self.fd), self._status):
                os.close(self.fd)


class StatmReader:
    """Reads `/proc/self/statm` through a descriptor that stays open.

    May be called on any thread. Opens the file again after a fork, where the
    inherited descriptor still tells about the parent, and when somebody closed it.
    """

    def __init__(self, root: str = "/") -> None:
        self._path = Path(root, "proc/self/statm")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._file: _OpenFile | None = None

    def read(self) -> Resident | None:
        """Read resident and anonymous memory together."""
        file = self._file
        if file is not None and file.pid == os.getpid():
            resident = self._parse(file)
            if resident is not None:
                return resident
        # Close first: the new descriptor may get the old one's number, and would then
        # be closed in its place.
        file = self._file = None
        with suppress(OSError):
            self._file = file = _OpenFile(self._path)
            return self._parse(file)
        return None

    def _parse(self, file: _OpenFile) -> Resident | None:
        # Runs at every span's start and end: plain code, no context manager.
        try:
            _, resident, shared, _, _, _, _ = os.pread(file.fd, 256, 0).split()
            rss_bytes = int(resident) * self._page_bytes
            anonymous_bytes = rss_bytes - int(shared) * self._page_bytes
        except (OSError, ValueError):  # Unpacking what is cut short: ValueError.
            return None
        # The kernel reads its counters one by one: shared may be ahead.
        return Resident(rss_bytes, anonymous_bytes if anonymous_bytes > 0 else 0)


def _bytes(path: Path) -> int | None:
    """Read a file of one number; "max" is none."""
    number = (_read(path) or "").strip()
    return int(number) if number.isascii() and number.isdecimal() else None


class _Files(NamedTuple):
    """How one version of the memory controller calls its files."""

    limit: str
    usage: str


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes")
_V2 = _Files("memory.max", "memory.current")


class _Group(NamedTuple):
    """One cgroup that the process is in."""

    directory: Path
    files: _Files

    def limit_bytes(self) -> int | None:
        limit_bytes = _bytes(self.directory / self.files.limit)
        return limit_bytes if (limit_bytes or 0) < _LIMIT_BYTES_MAX else None

    def usage_bytes(self) -> int | None:
        return _bytes(self.directory / self.files.usage)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), field)


def _memberships(cgroup: str) -> Iterator[tuple[_Files, PurePosixPath]]:
    """Read `/proc/self/cgroup`: in which group the process is, by hierarchy."""
    for line in cgroup.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(",") and path:
            yield _V1, PurePosixPath(path)
        elif number == "0" and not controllers and path:
            yield _V2, PurePosixPath(path)


def _mounts(mountinfo: str) -> Iterator[tuple[_Files, PurePosixPath, str]]:
    """Read `/proc/self/mountinfo`: which group is mounted where, by hierarchy."""
    for mount in _MOUNT.finditer(mountinfo):
        root, mount_point = map(_unescape, mount.group("root", "mount_point"))
        if mount["type"] == "cgroup2":
            yield _V2, PurePosixPath(root), mount_point
        elif mount["type"] == "cgroup" and "memory" in mount["options"].split(","):
            yield _V1, PurePosixPath(root), mount_point


def _groups(root: Path, cgroup: str, mountinfo: str) -> Iterator[_Group]:
    """List the process's own group and its ancestors, as far as they are mounted."""
    mounts = list(_mounts(mountinfo))
    for files, path in _memberships(cgroup):
        candidates = [mount for mount in mounts if mount[0] is files]
        # A container may have mounted more than its own: the host's tree, say.
        fitting = [mount for mount in candidates if path.is_relative_to(mount[1])]
        for _, mount_root, mount_point in (fitting or candidates)[:1]:
            # Outside of our cgroup namespace paths start with "/..", and the file
            # may speak of the host's tree where only ours is mounted: then the
            # mount point itself is the best there is.
            is_below = fitting and ".." not in path.parts
            parts = path.relative_to(mount_root).parts if is_below else ()
            top = root / mount_point.lstrip("/")
            for depth in range(len(parts), -1, -1):
                yield _Group(top.joinpath(*parts[:depth]), files)


class ProcfsReadings:
    """Readings of this process from procfs and cgroups.

    May be called on any thread.

    Args:
        root: Where `proc` and `sys` lie; a recorded tree under test.
        clock: Seconds since the system's start, which start times are counted from.
    """

    def __init__(self, root: str = "/", *, clock: _Clock = _boottime_seconds) -> None:
        self._root = Path(root)
        self._self = self._root / "proc/self"
        self._statm = StatmReader(root)
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        self._clock = clock
        self._known_groups: tuple[str, list[_Group]] = ("", [])

    def resident(self) -> Resident | None:
        """Read resident and anonymous memory together."""
        return self._statm.read()

    def peak_bytes(self) -> int | None:
        """Read the largest resident set size so far."""
        match = _PEAK.search(_read(self._self / "status") or "")
        return int(match[1]) * 1024 if match else None

    def uptime_seconds(self) -> float | None:
        """Read the time since the process started, suspended time included."""
        # The command's name is in parentheses and may contain spaces and more.
        _, _, after = (_read(self._self / "stat") or "").rpartition(")")
        fields = after.split()
        # The field after it must be there too, or the number may be cut short.
        if len(fields) <= _STAT_START_TIME + 1:
            return None
        started_seconds = int(fields[_STAT_START_TIME]) / self._ticks_per_second
        return max(self._clock() - started_seconds, 0.0)

    def limit_bytes(self) -> int | None:
        """Read the smallest memory limit of the process's cgroup and its ancestors."""
        limit = self._limit()
        return limit[0] if limit else None

    def container_usage_bytes(self) -> int | None:
        """Read what is used in the cgroup whose limit holds, else in our own."""
        limit = self._limit()
        groups = [limit[1]] if limit else self._groups()
        usages = (group.usage_bytes() for group in groups)
        return next((usage for usage in usages if usage is not None), None)

    def _limit(self) -> tuple[int, _Group] | None:
        # Read anew each time: limits of running containers can be changed.
        limits = ((group.limit_bytes(), group) for group in self._groups())
        known = [(limit, group) for limit, group in limits if limit is not None]
        return min(known, key=lambda pair: pair[0], default=None)

    def _groups(self) -> list[_Group]:
        cgroup = _read(self._self / "cgroup") or ""
        known_cgroup, groups = self._known_groups
        if cgroup != known_cgroup or not groups:
            # A host's list of mounts is long, and only changes with our groups.
            mountinfo = _read(self._self / "mountinfo") or ""
            groups = list(_groups(self._root, cgroup, mountinfo))
            self._known_groups = (cgroup, groups)
        return groups


class PsutilReadings:
    """Readings of this process where there is no procfs."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - takes 10 ms, which Linux need not pay

        self._psutil = psutil
        self._process = psutil.Process()

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

    def peak_bytes(self) -> int | None:
        """Read the largest resident set size so far, which only Windows tells."""
        return getattr(self._ask("memory_info"), "peak_wset", None)

    def uptime_seconds(self) -> float | None:
        """Read the time since the process started."""
        created_seconds = self._ask("create_time")
        if created_seconds is None:
            return None
        return max(time.time() - float(created_seconds), 0.0)

    def limit_bytes(self) -> int | None:
        """Know no limit."""
        return None

    def container_usage_bytes(self) -> int | None:
        """Know no container."""
        return None


Readings: TypeAlias = ProcfsReadings | PsutilReadings


def open_readings(root: str = "/") -> Readings:
    """Choose procfs where there is one, else psutil."""
    has_procfs = os.path.exists(os.path.join(root, "proc/self/statm"))
    return ProcfsReadings(root) if has_procfs else PsutilReadings()
