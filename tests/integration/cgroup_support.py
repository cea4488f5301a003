# SPDX-License-Identifier: Apache-2.0
"""Make real cgroups with a limit, and start processes in them.

Knows both versions by their files, and nothing of the code under test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .isolated_support import ISOLATED, UNTRACED, environment

LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
USAGE_FILES = {1: "memory.usage_in_bytes", 2: "memory.current"}
# Not a limit with swap: where it is the same, recent kernels count no failures.
SWAP_FILES = {1: "memory.swappiness", 2: "memory.swap.max"}
# The shell waits for the word, so that all of Python is charged to the group.
WAIT = 'read -r word && exec "$@"'


def unavailable(reason):
    """In CI a cgroup must be had: there nothing is left out."""
    message = f"no cgroup with a memory limit can be made here: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def own_groups():
    """Find where groups may be made: version and folder of those we are in."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            mounts[2] = (root, point)
        elif kind == "cgroup" and "memory" in options.split(","):
            mounts[1] = (root, point)
    memberships = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            memberships[1] = path
        elif number == "0":
            memberships[2] = path
    groups = {}
    for version in mounts.keys() & memberships.keys():
        root, point = mounts[version]
        below = os.path.relpath(memberships[version], root)
        groups[version] = Path(point, "" if below.startswith("..") else below)
    return groups


def place_for_groups():
    """Find a group whose children get the memory controller, and its version."""
    groups = own_groups()
    if 1 in groups:
        return 1, groups[1]
    if 2 not in groups:
        return unavailable("no memory controller is mounted")
    own = groups[2]
    for folder in (own, *own.parents):
        controllers = folder / "cgroup.subtree_control"
        if not controllers.exists():
            break
        if "memory" in controllers.read_text().split():
            return 2, folder
    return unavailable(f"the memory controller is not delegated at {own}")


def folder_on_disk(*candidates):
    """Choose a folder whose files are cached, and do not live in memory."""
    mounts = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    for folder in map(Path, candidates):
        resolved = folder.resolve()
        at = next(p for p in (resolved, *resolved.parents) if str(p) in mounts)
        if mounts[str(at)] not in ("tmpfs", "ramfs") and os.access(folder, os.W_OK):
            return folder
    return pytest.fail(f"all in memory: {candidates}")


class Group:
    """One cgroup; goes with all that is in it."""

    def __init__(self, parent, name, version, limit_bytes=None, members=True):
        self.version = version
        self.folder = parent / name
        self._members = []
        try:
            self.folder.mkdir()
            self._set_up(limit_bytes, members)
        except OSError as error:
            if self.folder.is_dir():
                self.folder.rmdir()
            unavailable(error)

    def write(self, name, value):
        (self.folder / name).write_text(str(value))

    def _set_up(self, limit_bytes, members):
        if limit_bytes is not None:
            self.write(LIMIT_FILES[self.version], limit_bytes)
            if (self.folder / SWAP_FILES[self.version]).exists():
                self.write(SWAP_FILES[self.version], 0)
        if self.version == 2 and not members:
            self.write("cgroup.subtree_control", "+memory")

    def used_bytes(self):
        """Read what is used, file cache included."""
        return int((self.folder / USAGE_FILES[self.version]).read_text())

    def start(self, *others):
        """Start a member, which is in other groups as well."""
        member = Member(self, *others)
        for group in (self, *others):
            group._members.append(member)
        return member

    def remove(self):
        for member in self._members:
            member.kill()
        self.folder.rmdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


class Member:
    """A Python process that runs in cgroups from its first instruction on."""

    def __init__(self, *groups):
        command = [sys.executable, str(ISOLATED / "cgroup_member.py")]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WAIT, "sh", *command],
            env=environment(**UNTRACED),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for group in groups:
                group.write("cgroup.procs", self._process.pid)
        except OSError:
            self.kill()
            raise
        self._say("go")

    def _say(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def ask(self, line):
        self._say(line)
        answer = self._process.stdout.readline()
        assert answer, f"ended with {self._process.wait()}"
        return json.loads(answer)

    def end_of(self, line):
        """Ask for something that nobody survives; give the exit status."""
        self._say(line)
        return self._process.wait()

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # What it was too late to say.
            self._process.stdin.close()


def total_stalls(folder):
    """Read the pressure file's first total, in seconds."""
    text = (folder / "memory.pressure").read_text()
    return int(re.search(r"^some .* total=(\d+)$", text, re.MULTILINE)[1]) / 1e6
