# SPDX-License-Identifier: Apache-2.0
"""Readings of the cgroups that the process is in, on recorded trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from otel_memory.process import LimitEvents, Pressure, ProcfsReadings
from otel_memory.semconv import PRESSURE_CGROUP, PRESSURE_MACHINE
from otel_memory.units import MIB

FIXTURES = Path(__file__).parents[1] / "fixtures/cgroup"
POD_V1 = "sys/fs/cgroup/memory/kubepods/burstable/pod7f31"
POD_V2 = (
    "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/"
    "kubepods-burstable-pod7f31.slice"
)
CONTAINER_V2 = f"{POD_V2}/cri-containerd-c0ffee.scope"


def recorded(tree: str) -> ProcfsReadings:
    return ProcfsReadings(str(FIXTURES / tree))


def copied(tree: str, folder: Path) -> ProcfsReadings:
    shutil.copytree(FIXTURES / tree, folder, dirs_exist_ok=True)
    return ProcfsReadings(str(folder))


@pytest.mark.parametrize(
    ("tree", "limit_mib"),
    [
        ("v2-container", 512),
        ("v2-unlimited", None),
        # The smallest limit holds.
        ("v2-nested", 256),
        ("v2-outside-namespace", 64),
        ("v2-two-mounts", 300),
        ("v2-space-in-mount", 128),
        ("v1-unlimited", None),
        ("v1-unlimited-64k-pages", None),
        ("v1-nested", 128),
        ("v1-docker", 96),
        ("v1-other-tree-mounted", 97),
        ("v1-vanished-group", 700),
        ("hybrid", 400),
        # A limit of the pod and one of the container: the smaller one holds.
        ("v2-kubernetes", 256),
        ("v1-kubernetes", 384),
        ("v2-root", None),
        ("not-mounted", None),
    ],
)
def test_the_containers_limit(tree: str, limit_mib: int | None) -> None:
    limit_bytes = recorded(tree).limit_bytes()
    assert limit_bytes == (None if limit_mib is None else limit_mib * MIB)


def test_a_limit_that_changes_in_a_running_container_is_seen(tmp_path: Path) -> None:
    readings = copied("v2-nested", tmp_path)
    assert readings.limit_bytes() == 256 * MIB
    (tmp_path / "sys/fs/cgroup/kube/pod/memory.max").write_text("max\n")
    assert readings.limit_bytes() == 1024 * MIB


def test_a_process_that_is_moved_to_another_group_is_followed(tmp_path: Path) -> None:
    readings = copied("v2-nested", tmp_path)
    assert readings.limit_bytes() == 256 * MIB
    (tmp_path / "proc/self/cgroup").write_text("0::/kube\n")
    assert readings.limit_bytes() == 2048 * MIB


def test_a_mount_table_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v2-container", tmp_path, dirs_exist_ok=True)
    mountinfo = tmp_path / "proc/self/mountinfo"
    hidden = mountinfo.rename(mountinfo.with_name("hidden"))
    readings = ProcfsReadings(str(tmp_path))
    assert readings.limit_bytes() is None
    hidden.rename(mountinfo)
    assert readings.limit_bytes() == 512 * MIB


@pytest.mark.parametrize(
    ("tree", "usage_mib"),
    [
        # File cache can be reclaimed: 250 used, 48 and 22 of it are files.
        ("v2-kubernetes", 180),
        ("v2-container", 130),
        # Of the pod with all below it: it has next to no pages of its own.
        ("v1-kubernetes", 240),
        ("hybrid", 20),
        # Without a limit nothing counts against it.
        ("v2-unlimited", None),
        ("v1-unlimited", None),
        ("v2-root", None),
        ("not-mounted", None),
        # The usage is known, but not how much of it is cache.
        ("v2-nested", None),
    ],
)
def test_what_counts_against_the_limit(tree: str, usage_mib: int | None) -> None:
    usage_bytes = recorded(tree).limit_usage_bytes()
    assert usage_bytes == (None if usage_mib is None else usage_mib * MIB)


def test_what_counts_against_the_limit_is_never_negative(tmp_path: Path) -> None:
    readings = copied("v2-kubernetes", tmp_path)
    (tmp_path / CONTAINER_V2 / "memory.current").write_text(f"{69 * MIB}\n")
    assert readings.limit_usage_bytes() == 0


def test_of_two_limits_that_are_the_same_the_outer_one_holds(tmp_path: Path) -> None:
    readings = copied("v2-kubernetes", tmp_path)
    (tmp_path / POD_V2 / "memory.max").write_text(f"{256 * MIB}\n")
    assert readings.limit_bytes() == 256 * MIB
    assert readings.limit_usage_bytes() == 200 * MIB
    assert readings.limit_events() == LimitEvents(high=0, max=3, oom=0, oom_kill=2)


@pytest.mark.parametrize(
    ("tree", "events"),
    [
        ("v2-kubernetes", LimitEvents(high=11, max=123, oom=4, oom_kill=2)),
        ("v2-container", LimitEvents(high=2, max=40, oom=1, oom_kill=1)),
        # Without a limit, of the process's own group.
        ("v2-unlimited", LimitEvents(high=0, max=0, oom=0, oom_kill=5)),
        ("v1-unlimited", LimitEvents(None, max=0, oom=None, oom_kill=1)),
        # Kills are counted in the victims' groups: 2 in ours, 1 in the pod's.
        ("v1-kubernetes", LimitEvents(None, max=1790, oom=None, oom_kill=3)),
        # 17 times without swap, and 25 times with it.
        ("hybrid", LimitEvents(None, max=42, oom=None, oom_kill=3)),
        ("v2-nested", None),
        ("v1-nested", None),
        ("v1-vanished-group", None),
        ("v2-root", None),
        ("not-mounted", None),
    ],
)
def test_how_often_limits_were_reached(tree: str, events: LimitEvents | None) -> None:
    assert recorded(tree).limit_events() == events


def test_events_that_an_old_kernel_does_not_tell_are_none(tmp_path: Path) -> None:
    readings = copied("v2-container", tmp_path)
    events = tmp_path / "sys/fs/cgroup/memory.events"
    events.write_text("low 0\nhigh 2\nmax 40\noom 1\n")
    assert readings.limit_events() == LimitEvents(2, 40, 1, None)
    readings = copied("hybrid", tmp_path / "v1")
    control = tmp_path / "v1/sys/fs/cgroup/memory/app/memory.oom_control"
    control.write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert readings.limit_events() == LimitEvents(None, 42, None, None)


def test_kills_are_unknown_where_a_group_on_the_way_does_not_tell(
    tmp_path: Path,
) -> None:
    readings = copied("v1-kubernetes", tmp_path)
    (tmp_path / POD_V1 / "c0ffee/memory.oom_control").unlink()
    assert readings.limit_events() == LimitEvents(None, 1790, None, None)


@pytest.mark.parametrize(
    ("tree", "pressure"),
    [
        ("v2-kubernetes", Pressure(PRESSURE_CGROUP, 2.5, 1.75)),
        ("v2-container", Pressure(PRESSURE_CGROUP, 0.64, 0.32)),
        # The memory controller is version 1, but version 2 tells of pressure.
        ("hybrid", Pressure(PRESSURE_CGROUP, 0.051, 0.002)),
        ("v2-unlimited", Pressure(PRESSURE_CGROUP, 0.0, None)),
        ("v1-kubernetes", Pressure(PRESSURE_MACHINE, 9.000001, 4.000002)),
        # The root group's figures are the machine's.
        ("v2-root", Pressure(PRESSURE_MACHINE, 9.000001, 4.000002)),
        ("v2-nested", None),
        ("not-mounted", None),
    ],
)
def test_how_long_tasks_waited_for_memory(tree: str, pressure: Pressure | None) -> None:
    assert recorded(tree).pressure() == pressure


def test_where_the_group_tells_of_no_pressure_the_machine_does(tmp_path: Path) -> None:
    readings = copied("v2-container", tmp_path)
    file = tmp_path / "sys/fs/cgroup/memory.pressure"
    file.unlink()
    machine = Pressure(PRESSURE_MACHINE, 9.000001, 4.000002)
    assert readings.pressure() == machine
    # There, but reading it fails, as where the kernel keeps no account of pressure.
    file.mkdir()
    assert readings.pressure() == machine
    (tmp_path / "proc/pressure/memory").unlink()
    assert readings.pressure() is None


def test_a_group_that_vanishes_is_followed_by_those_above_it(tmp_path: Path) -> None:
    readings = copied("v2-kubernetes", tmp_path)
    assert readings.limit_bytes() == 256 * MIB
    shutil.rmtree(tmp_path / CONTAINER_V2)
    assert readings.limit_bytes() == 320 * MIB
    assert readings.limit_usage_bytes() == 200 * MIB
    assert readings.limit_events() == LimitEvents(0, 3, 0, 2)
    assert readings.pressure() == Pressure(PRESSURE_MACHINE, 9.000001, 4.000002)
    shutil.rmtree(tmp_path / "sys")
    assert readings.limit_bytes() is None
    assert readings.limit_usage_bytes() is None
    assert readings.limit_events() is None


def test_a_limit_that_is_raised_to_none_is_none(tmp_path: Path) -> None:
    readings = copied("v2-container", tmp_path)
    assert readings.limit_usage_bytes() == 130 * MIB
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert readings.limit_bytes() is None
    assert readings.limit_usage_bytes() is None
    assert readings.limit_events() == LimitEvents(2, 40, 1, 1)
