# SPDX-License-Identifier: Apache-2.0
"""A container's limit, its usage, and the kernel's kills, in real cgroups."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .cgroup_support import (
    Group,
    folder_on_disk,
    own_groups,
    place_for_groups,
    total_stalls,
)

MIB = 1024 * 1024
# A Python that reads takes about 10 MiB, and there are three.
LIMIT_BYTES = 96 * MIB
TOUCHED_MIB = 24
# The kernel charges in batches, and keeps books on cached pages.
SLACK_BYTES = 4 * MIB
NAME = f"otel-memory-test-{os.getpid()}"


@pytest.fixture
def group():
    version, place = place_for_groups()
    with Group(place, NAME, version, LIMIT_BYTES) as group:
        yield group


@pytest.fixture
def pod():
    """A limit on a group that has no processes itself, but two groups below it."""
    version, place = place_for_groups()
    with (
        Group(place, NAME, version, LIMIT_BYTES, members=False) as pod,
        Group(pod.folder, "one", version, 2 * LIMIT_BYTES) as one,
        Group(pod.folder, "two", version) as two,
    ):
        yield one, two


def test_memory_counts_and_file_cache_does_not(group, tmp_path):
    member = group.start()
    before = member.ask("read")
    assert before["limit_bytes"] == LIMIT_BYTES
    assert 4 * MIB < before["limit_usage_bytes"] < LIMIT_BYTES - 2 * TOUCHED_MIB * MIB

    member.ask(f"touch {TOUCHED_MIB}")
    touched = member.ask("read")
    grown_bytes = touched["limit_usage_bytes"] - before["limit_usage_bytes"]
    assert grown_bytes == pytest.approx(TOUCHED_MIB * MIB, abs=SLACK_BYTES)

    used_bytes = group.used_bytes()
    folder = folder_on_disk(tmp_path, "/var/tmp", Path(__file__).parent)
    large = folder / NAME
    try:
        member.ask(f"file {large} 32")
        cached = member.ask("read")
        cached_bytes = group.used_bytes() - used_bytes
    finally:
        large.unlink(missing_ok=True)
    assert cached_bytes > 24 * MIB
    grown_bytes = cached["limit_usage_bytes"] - touched["limit_usage_bytes"]
    assert grown_bytes == pytest.approx(0, abs=SLACK_BYTES)


def test_more_files_than_fit_are_no_kill(group, tmp_path):
    member = group.start()
    assert member.ask("read")["limit_events"]["max"] == 0
    folder = folder_on_disk(tmp_path, "/var/tmp", Path(__file__).parent)
    large = folder / NAME
    try:
        member.ask(f"file {large} {LIMIT_BYTES // MIB + 16}")
        after = member.ask("read")
        used_bytes = group.used_bytes()
    finally:
        large.unlink(missing_ok=True)
    assert used_bytes > LIMIT_BYTES * 0.9
    assert after["limit_usage_bytes"] < LIMIT_BYTES * 0.75
    assert after["limit_events"]["max"] > 0
    assert after["limit_events"]["oom_kill"] == 0


def test_a_kill_is_seen_by_who_is_left_and_who_comes_later(group):
    sibling, victim = group.start(), group.start()
    assert sibling.ask("read")["limit_events"]["oom_kill"] == 0
    assert victim.end_of("grow") == -signal.SIGKILL
    for survivor in (sibling, group.start()):
        events = survivor.ask("read")["limit_events"]
        assert events["oom_kill"] == 1
        assert events["max"] > 0


def test_the_limit_of_the_group_above_holds_for_all_below(pod):
    one, two = pod
    sibling, victim = one.start(), one.start()
    before = sibling.ask("read")
    assert before["limit_bytes"] == LIMIT_BYTES

    neighbour = two.start()
    neighbour.ask(f"touch {TOUCHED_MIB // 2}")
    assert neighbour.ask("read")["limit_bytes"] == LIMIT_BYTES
    after = sibling.ask("read")
    grown_bytes = after["limit_usage_bytes"] - before["limit_usage_bytes"]
    assert grown_bytes > TOUCHED_MIB // 2 * MIB

    assert victim.end_of("grow") == -signal.SIGKILL
    events = sibling.ask("read")["limit_events"]
    assert events["oom_kill"] == 1
    assert events["max"] > 0


def test_pressure_is_that_of_the_own_group(group, tmp_path):
    own = own_groups().get(2)
    if own is None or not (own / "memory.pressure").exists():
        # Without pressure in version 2's groups there is the machine's, or none.
        pressure = group.start().ask("read")["pressure"]
        assert pressure is None or pressure["scope"] == "machine"
        return
    if group.version == 2:
        assert_pressure_of(group.folder, group.start(), tmp_path)
        return
    with Group(own, NAME, 2) as unified:
        assert_pressure_of(unified.folder, group.start(unified), tmp_path)


def assert_pressure_of(folder, member, tmp_path):
    path = folder_on_disk(tmp_path, "/var/tmp", Path(__file__).parent) / NAME
    try:
        # So that there has been something to wait for.
        member.ask(f"file {path} {LIMIT_BYTES // MIB + 16}")
    finally:
        path.unlink(missing_ok=True)
    before_seconds = total_stalls(folder)
    pressure = member.ask("read")["pressure"]
    after_seconds = total_stalls(folder)
    assert pressure["scope"] == "cgroup"
    assert before_seconds <= pressure["some_seconds"] <= after_seconds
    assert 0 <= pressure["full_seconds"] <= pressure["some_seconds"]
