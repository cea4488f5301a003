# SPDX-License-Identifier: Apache-2.0
"""Readings of the operating system, on recorded trees and on this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from otel_memory.process import (
    ProcfsReadings,
    PsutilReadings,
    Resident,
    StatmReader,
    open_readings,
)
from otel_memory.units import MIB

FIXTURES = Path(__file__).parents[1] / "fixtures"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def recorded(tree: str) -> ProcfsReadings:
    return ProcfsReadings(str(FIXTURES / tree), clock=lambda: 1300.5)


def test_the_recorded_worker_is_read_exactly() -> None:
    worker = recorded("proc/worker")
    assert worker.resident() == Resident(30720 * PAGE_BYTES, 25600 * PAGE_BYTES)
    assert worker.peak_bytes() == 128 * MIB
    started_seconds = 120300 / os.sysconf("SC_CLK_TCK")
    assert worker.uptime_seconds() == pytest.approx(1300.5 - started_seconds)


@pytest.mark.parametrize("tree", ["proc/cut-short", "proc/vanished"])
def test_what_is_cut_short_or_gone_is_none(tree: str) -> None:
    readings = recorded(tree)
    assert readings.resident() is None
    assert readings.peak_bytes() is None
    assert readings.uptime_seconds() is None
    assert readings.limit_bytes() is None
    assert readings.container_usage_bytes() is None


@pytest.mark.parametrize(
    "content", ["", "\n", "1 2 3 4 5 6", "a b c d e f g", "\0" * 9]
)
def test_a_statm_that_is_none_is_none(content: str, tmp_path: Path) -> None:
    statm = tmp_path / "proc/self/statm"
    statm.parent.mkdir(parents=True)
    statm.write_text(content)
    assert StatmReader(str(tmp_path)).read() is None


def test_anonymous_memory_is_never_negative(tmp_path: Path) -> None:
    statm = tmp_path / "proc/self/statm"
    statm.parent.mkdir(parents=True)
    statm.write_text("9 5 6 1 0 1 0\n")
    assert StatmReader(str(tmp_path)).read() == Resident(5 * PAGE_BYTES, 0)


@pytest.mark.parametrize(
    ("tree", "limit_mib", "usage_mib"),
    [
        ("v2-container", 512, 200),
        ("v2-unlimited", None, 70),
        # The smallest limit holds, and the usage is that of the group it holds for.
        ("v2-nested", 256, 180),
        ("v2-outside-namespace", 64, 10),
        ("v2-two-mounts", 300, 20),
        ("v2-space-in-mount", 128, 11),
        ("v1-unlimited", None, 33),
        ("v1-unlimited-64k-pages", None, 800),
        ("v1-nested", 128, 120),
        ("v1-docker", 96, 40),
        ("v1-other-tree-mounted", 97, 41),
        ("v1-vanished-group", 700, 60),
        ("hybrid", 400, 44),
        ("not-mounted", None, None),
    ],
)
def test_the_containers_limit_and_usage(
    tree: str, limit_mib: int | None, usage_mib: int | None
) -> None:
    readings = recorded(f"cgroup/{tree}")
    limit_bytes, usage_bytes = readings.limit_bytes(), readings.container_usage_bytes()
    assert limit_bytes == (None if limit_mib is None else limit_mib * MIB)
    assert usage_bytes == (None if usage_mib is None else usage_mib * MIB)


def test_a_limit_that_changes_in_a_running_container_is_seen(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cgroup/v2-nested", tmp_path, dirs_exist_ok=True)
    readings = ProcfsReadings(str(tmp_path))
    assert readings.limit_bytes() == 256 * MIB
    (tmp_path / "sys/fs/cgroup/kube/pod/memory.max").write_text("max\n")
    assert readings.limit_bytes() == 1024 * MIB


def test_a_process_that_is_moved_to_another_group_is_followed(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cgroup/v2-nested", tmp_path, dirs_exist_ok=True)
    readings = ProcfsReadings(str(tmp_path))
    assert readings.limit_bytes() == 256 * MIB
    (tmp_path / "proc/self/cgroup").write_text("0::/kube\n")
    assert readings.limit_bytes() == 2048 * MIB


def test_a_mount_table_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cgroup/v2-container", tmp_path, dirs_exist_ok=True)
    mountinfo = tmp_path / "proc/self/mountinfo"
    hidden = mountinfo.rename(mountinfo.with_name("hidden"))
    readings = ProcfsReadings(str(tmp_path))
    assert readings.limit_bytes() is None
    hidden.rename(mountinfo)
    assert readings.limit_bytes() == 512 * MIB


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="procfs is Linux's")


@linux_only
def test_this_process_agrees_with_psutil() -> None:
    readings = open_readings()
    assert isinstance(readings, ProcfsReadings)
    resident = readings.resident()
    theirs = psutil.Process()
    memory = theirs.memory_info()
    assert resident is not None
    assert resident.anonymous_bytes is not None
    assert resident.rss_bytes == pytest.approx(memory.rss, rel=0.05)
    shared_bytes = resident.rss_bytes - resident.anonymous_bytes
    assert shared_bytes == pytest.approx(memory.shared, rel=0.05)
    peak_bytes = readings.peak_bytes()
    assert peak_bytes is None or peak_bytes >= memory.rss * 0.95
    age_seconds = time.time() - theirs.create_time()
    assert readings.uptime_seconds() == pytest.approx(age_seconds, abs=2)


@linux_only
def test_touched_memory_is_resident_and_anonymous() -> None:
    reader = StatmReader()
    before = reader.read()
    ballast = b"x" * (32 * MIB)
    after = reader.read()
    assert before is not None
    assert after is not None
    assert before.anonymous_bytes is not None
    assert after.anonymous_bytes is not None
    assert len(ballast) == 32 * MIB
    assert after.rss_bytes - before.rss_bytes == pytest.approx(32 * MIB, rel=0.1)
    grown_bytes = after.anonymous_bytes - before.anonymous_bytes
    assert grown_bytes == pytest.approx(32 * MIB, rel=0.1)


# Other tests may leave threads; the children here only read and exit.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def in_child(check: Callable[[], bool]) -> bool:
    """Fork, and say whether the check held in the child."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@linux_only
@forks
def test_a_forked_child_reads_its_own_memory() -> None:
    reader = StatmReader()
    parent = reader.read()
    assert parent is not None

    def child_has_grown() -> bool:
        ballast = b"x" * (64 * MIB)
        mine = reader.read()
        fresh = StatmReader().read()
        return (
            mine is not None
            and fresh is not None
            and len(ballast) > 0
            and mine.rss_bytes - parent.rss_bytes > 32 * MIB
            and abs(mine.rss_bytes - fresh.rss_bytes) < 4 * MIB
        )

    assert in_child(child_has_grown)


def descriptors_of(path: Path) -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                found.append(int(name))
        except OSError:
            pass  # The descriptor that lists the folder.
    return found


@pytest.fixture
def statm(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "proc/worker", tmp_path, dirs_exist_ok=True)
    return tmp_path.resolve() / "proc/self/statm"


@linux_only
def test_the_file_stays_open_and_is_closed_with_the_reader(statm: Path) -> None:
    reader = StatmReader(str(statm.parents[2]))
    for _ in range(3):
        assert reader.read() is not None
        assert len(descriptors_of(statm)) == 1
    del reader
    assert descriptors_of(statm) == []


@linux_only
@forks
def test_a_child_keeps_one_descriptor_too(statm: Path) -> None:
    reader = StatmReader(str(statm.parents[2]))
    reader.read()
    assert in_child(
        lambda: reader.read() is not None and len(descriptors_of(statm)) == 1
    )


@linux_only
def test_a_descriptor_that_a_daemon_closed_and_reused_stays_the_daemons(
    statm: Path, tmp_path: Path
) -> None:
    reader = StatmReader(str(statm.parents[2]))
    expected = reader.read()
    (ours,) = descriptors_of(statm)
    log = os.open(tmp_path / "application.log", os.O_CREAT | os.O_RDWR)
    os.write(log, b"not seven numbers\n")
    os.dup2(log, ours)
    try:
        assert reader.read() == expected
        os.write(ours, b"still open\n")
    finally:
        os.close(ours)
        os.close(log)
    assert reader.read() == expected


@linux_only
def test_a_descriptor_that_was_closed_is_opened_again(statm: Path) -> None:
    reader = StatmReader(str(statm.parents[2]))
    expected = reader.read()
    os.close(descriptors_of(statm)[0])
    assert reader.read() == expected


def test_a_file_that_appears_later_is_read(tmp_path: Path) -> None:
    reader = StatmReader(str(tmp_path))
    assert reader.read() is None
    shutil.copytree(FIXTURES / "proc/worker", tmp_path, dirs_exist_ok=True)
    assert reader.read() is not None


def test_without_procfs_psutil_is_asked(tmp_path: Path) -> None:
    readings = open_readings(str(tmp_path))
    assert isinstance(readings, PsutilReadings)
    resident = readings.resident()
    assert resident is not None
    assert resident.rss_bytes == pytest.approx(psutil.Process().memory_info().rss, 0.05)
    assert resident.anonymous_bytes is None
    uptime_seconds = readings.uptime_seconds()
    assert uptime_seconds is not None
    assert 0 <= uptime_seconds < 86400
    assert readings.limit_bytes() is None
    assert readings.container_usage_bytes() is None


@linux_only
@forks
def test_psutil_follows_a_fork() -> None:
    readings = PsutilReadings()
    parent = readings.resident()
    assert parent is not None

    def child_has_grown() -> bool:
        ballast = b"x" * (64 * MIB)
        mine = readings.resident()
        return mine is not None and mine.rss_bytes - parent.rss_bytes > len(ballast) / 2

    assert in_child(child_has_grown)


def test_psutil_is_not_imported_where_there_is_procfs() -> None:
    program = (
        "import sys; from otel_memory.process import open_readings;"
        f"open_readings({str(FIXTURES / 'proc/worker')!r}).resident();"
        "sys.exit('psutil' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)
