# SPDX-License-Identifier: Apache-2.0
"""The cgroups that the process is in: limits, what counts against them, and events.

Knows version 1, version 2, and both at once. A group that cannot be read has no
say (it may have vanished, and the root of version 2 has no such files); a group
whose limit is cut short makes it unknown which one holds, and so everything that
depends on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from otel_memory.process._figures import LimitEvents
from otel_memory.process._files import number, read

# cgroup v1 says "no limit" with the largest page-aligned 63-bit number, which
# depends on the page size. Nothing real comes near 1 EiB.
_LIMIT_BYTES_MAX = 1 << 60
_MOUNT = re.compile(
    r"^[^ \n]+ [^ \n]+ [^ \n]+ (?P<root>[^ \n]+) (?P<mount_point>[^ \n]+) .* - "
    r"(?P<type>[^ \n]+) [^ \n]+ (?P<options>[^ \n]+)$",
    re.MULTILINE,
)
_COUNT = re.compile(r"^([a-z_]+) ([0-9]{1,20})$", re.MULTILINE)


class _Group(NamedTuple):
    """One cgroup that the process is in."""

    directory: str
    version: _Version

    def read(self, name: str) -> str | None:
        return read(f"{self.directory}/{name}")

    def bytes(self, name: str) -> int | None:
        """Read a file of one number."""
        return number((self.read(name) or "").removesuffix("\n"))

    def counts(self, name: str) -> dict[str, int]:
        """Read a file of lines with a name and a number each."""
        found = _COUNT.findall(self.read(name) or "")
        return {name: int(count) for name, count in found}

    def limit_usage_bytes(self) -> int | None:
        usage_bytes = self.bytes(self.version.usage)
        cached = self.version.cached.findall(self.read("memory.stat") or "")
        if usage_bytes is None or len(cached) != 2:  # Active and inactive.
            return None
        # The kernel adds up the statistics now and then: they may be ahead.
        return max(usage_bytes - sum(map(int, cached)), 0)


def _failures_v1(holder: _Group) -> int | None:
    # Where the limit with swap is the same, it is reached first, and counts alone.
    memory = holder.bytes("memory.failcnt")
    text = holder.read("memory.memsw.failcnt")
    with_swap = 0 if text is None else number(text.removesuffix("\n"))
    return None if memory is None or with_swap is None else memory + with_swap


def _events_v1(holder: _Group, path: list[_Group]) -> LimitEvents:
    # A kill is counted in the victim's own group only, wherever the limit is.
    controls = [group.counts("memory.oom_control") for group in path]
    kills = [counts["oom_kill"] for counts in controls if "oom_kill" in counts]
    oom_kill = sum(kills) if len(kills) == len(path) else None
    return LimitEvents(None, _failures_v1(holder), None, oom_kill)


def _events_v2(holder: _Group, path: list[_Group]) -> LimitEvents:
    counts = holder.counts("memory.events")  # Of the groups below it, too.
    return LimitEvents(*(counts.get(name) for name in LimitEvents._fields))


class _Version(NamedTuple):
    """How one version of the memory controller calls its files.

    Attributes:
        limit: The file with the limit.
        usage: The file with what is used.
        cached: The file cache of a group and those below it, in `memory.stat`.
        events: Reads events of the group whose limit holds; also given are the
            groups from our own up to this one.
    """

    limit: str
    usage: str
    cached: re.Pattern[str]
    events: Callable[[_Group, list[_Group]], LimitEvents]


_V1 = _Version(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    re.compile(r"^total_(?:in)?active_file ([0-9]{1,20})$", re.MULTILINE),
    _events_v1,
)
_V2 = _Version(
    "memory.max",
    "memory.current",
    re.compile(r"^(?:in)?active_file ([0-9]{1,20})$", re.MULTILINE),
    _events_v2,
)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), field)


def _memberships(cgroup: str) -> Iterator[tuple[_Version, PurePosixPath]]:
    """Read `/proc/self/cgroup`: in which group the process is, by hierarchy."""
    for line in cgroup.split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(",") and path:
            yield _V1, PurePosixPath(path)
        elif hierarchy == "0" and not controllers and path:
            yield _V2, PurePosixPath(path)


def _mounts(mountinfo: str) -> Iterator[tuple[_Version, PurePosixPath, str]]:
    """Read `/proc/self/mountinfo`: which group is mounted where, by hierarchy."""
    for mount in _MOUNT.finditer(mountinfo):
        root, mount_point = map(_unescape, mount.group("root", "mount_point"))
        group = PurePosixPath(root)
        if ".." in group.parts:  # Above our namespace: nobody says where we are in it.
            continue
        if mount["type"] == "cgroup2":
            yield _V2, group, mount_point
        elif mount["type"] == "cgroup" and "memory" in mount["options"].split(","):
            yield _V1, group, mount_point


def _groups(root: str, cgroup: str, mountinfo: str) -> Iterator[_Group]:
    """List the process's own group and its ancestors, as far as they are mounted."""
    mounts = list(_mounts(mountinfo))
    for version, path in _memberships(cgroup):
        candidates = [mount for mount in mounts if mount[0] is version]
        # A container may have mounted more than its own: the host's tree, say.
        fitting = [mount for mount in candidates if path.is_relative_to(mount[1])]
        for _, mount_root, mount_point in (fitting or candidates)[:1]:
            # Outside of our cgroup namespace paths start with "/..", and the file
            # may speak of the host's tree where only ours is mounted: then the
            # mount point itself is the best there is.
            is_below = fitting and ".." not in path.parts
            parts = path.relative_to(mount_root).parts if is_below else ()
            top = os.path.join(root, mount_point.lstrip("/"))
            for depth in range(len(parts), -1, -1):
                yield _Group(os.path.join(top, *parts[:depth]), version)


class _Holder(NamedTuple):
    """Which limit holds; without a limit the group is the process's own."""

    limit_bytes: int | None
    group: _Group
    path: list[_Group]  # From our own group up to this one.


class Cgroups:
    """Readings of the cgroups that the process is in.

    May be called on any thread.

    Args:
        root: Where `proc` and `sys` lie.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._self = os.path.join(root, "proc/self")
        self._known: tuple[str, list[_Group]] = ("", [])

    def limit_bytes(self) -> int | None:
        """Read the smallest limit of the own group and its ancestors."""
        holder = self._holder()
        return holder.limit_bytes if holder else None

    def limit_usage_bytes(self) -> int | None:
        """Read what is used without file cache in the group whose limit holds."""
        holder = self._holder()
        if holder is None or holder.limit_bytes is None:
            return None
        return holder.group.limit_usage_bytes()

    def events(self) -> LimitEvents | None:
        """Read events of the group whose limit holds, else of our own."""
        holder = self._holder()
        if holder is None:
            return None
        events = holder.group.version.events(holder.group, holder.path)
        return None if all(count is None for count in events) else events

    def pressure(self) -> str | None:
        """Read the pressure file of our own group, which only version 2 has."""
        for group in self._groups():
            if group.version is _V2:
                # The root group has the machine's figures, and no such file.
                is_root = not os.path.exists(f"{group.directory}/cgroup.events")
                return None if is_root else group.read("memory.pressure")
        return None

    def _holder(self) -> _Holder | None:
        """Find the limit that holds; `None` where it cannot be known."""
        # Read anew each time: limits of running containers can be changed.
        groups = self._groups()
        smallest = _LIMIT_BYTES_MAX
        holder = _Holder(None, groups[0], groups[:1]) if groups else None
        for index, group in enumerate(groups):
            text = group.read(group.version.limit)
            if text is None or text == "max\n":
                continue
            limit_bytes = number(text.removesuffix("\n"))
            if limit_bytes is None:
                return None
            # Of two that are the same the outer one is reached first.
            if limit_bytes < _LIMIT_BYTES_MAX and limit_bytes <= smallest:
                smallest = limit_bytes
                path = [g for g in groups[: index + 1] if g.version is group.version]
                holder = _Holder(limit_bytes, group, path)
        return holder

    def _groups(self) -> list[_Group]:
        cgroup = read(f"{self._self}/cgroup") or ""
        known_cgroup, groups = self._known
        if cgroup != known_cgroup or not groups:
            # A host's list of mounts is long, and only changes with our groups.
            mountinfo = read(f"{self._self}/mountinfo") or ""
            groups = list(_groups(self._root, cgroup, mountinfo))
            self._known = (cgroup, groups)
        return groups
