# SPDX-License-Identifier: Apache-2.0
"""Readings of the process itself, on recorded trees and on this process."""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from otel_memory.process import (
    Details,
    Faults,
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
    assert worker.virtual_bytes() == 81920 * PAGE_BYTES
    assert worker.peak_bytes() == 128 * MIB
    # What the process waited for before, and what its children faulted, is not ours.
    assert worker.faults() == Faults(minor=2981, major=11)
    started_seconds = 120300 / os.sysconf("SC_CLK_TCK")
    assert worker.uptime_seconds() == pytest.approx(1300.5 - started_seconds)
    private_kib = 6144 + 97280 + 2048
    assert worker.details() == Details(private_kib * 1024, 110080 * 1024, 5 * MIB)


def test_a_kernel_without_huge_pages_has_none(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "proc/worker", tmp_path, dirs_exist_ok=True)
    rollup = tmp_path / "proc/self/smaps_rollup"
    lines = rollup.read_text().splitlines(keepends=True)
    rollup.write_text("".join(line for line in lines if "Hugetlb" not in line))
    details = ProcfsReadings(str(tmp_path)).details()
    assert details == Details((6144 + 97280) * 1024, 110080 * 1024, 5 * MIB)


@pytest.mark.parametrize("tree", ["proc/cut-short", "proc/vanished"])
def test_what_is_cut_short_or_gone_is_none(tree: str) -> None:
    readings = recorded(tree)
    assert readings.resident() is None
    assert readings.peak_bytes() is None
    assert readings.virtual_bytes() is None
    assert readings.uptime_seconds() is None
    assert readings.faults() is None
    assert readings.details() is None
    assert readings.limit_bytes() is None
    assert readings.limit_usage_bytes() is None
    assert readings.limit_events() is None
    assert readings.pressure() is None


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
    assert readings.virtual_bytes() == pytest.approx(memory.vms, rel=0.05)
    peak_bytes = readings.peak_bytes()
    assert peak_bytes is None or peak_bytes >= memory.rss * 0.95
    age_seconds = time.time() - theirs.create_time()
    assert readings.uptime_seconds() == pytest.approx(age_seconds, abs=2)


def faults_by_rusage() -> Faults:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def touch_fresh_pages() -> None:
    """Fault, whatever `malloc` has left over from earlier."""
    with mmap.mmap(-1, 8 * MIB) as fresh:
        fresh[::PAGE_BYTES] = b"x" * (8 * MIB // PAGE_BYTES)


@linux_only
def test_faults_are_those_of_all_threads_so_far() -> None:
    readings = ProcfsReadings()
    before = faults_by_rusage()
    thread = threading.Thread(target=touch_fresh_pages)
    thread.start()
    thread.join()
    between = readings.faults()
    after = faults_by_rusage()
    assert between is not None
    assert before.minor < between.minor <= after.minor
    assert before.major <= between.major <= after.major


@linux_only
def test_details_agree_with_psutil() -> None:
    ballast = b"x" * (32 * MIB)
    # What is shared changes whenever another process starts that has our libraries.
    apart = 8 * MIB
    ours, theirs = ProcfsReadings().details(), psutil.Process().memory_full_info()
    assert len(ballast) == 32 * MIB
    assert ours is not None
    assert ours.uss_bytes == pytest.approx(theirs.uss, abs=apart)
    assert ours.pss_bytes == pytest.approx(theirs.pss, abs=apart)
    assert ours.swap_bytes == pytest.approx(theirs.swap, abs=apart)
    assert PsutilReadings().details() == pytest.approx(ours, abs=apart)


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


@linux_only
@forks
@pytest.mark.parametrize("kind", [ProcfsReadings, PsutilReadings])
def test_a_forked_childs_faults_begin_at_zero(
    kind: type[ProcfsReadings | PsutilReadings],
) -> None:
    readings = kind()
    bytearray(8 * MIB)
    before = readings.faults()
    assert before is not None

    def child_begins_anew() -> bool:
        mine = readings.faults()
        return mine is not None and 0 < mine.minor < before.minor

    assert in_child(child_begins_anew)


@linux_only
@forks
def test_a_forked_child_reads_its_own_details() -> None:
    readings = ProcfsReadings()
    before_bytes = readings.virtual_bytes()
    assert before_bytes is not None

    def child_has_grown() -> bool:
        ballast = b"x" * (64 * MIB)
        virtual_bytes, details = readings.virtual_bytes(), readings.details()
        return (
            virtual_bytes is not None
            and details is not None
            and details.uss_bytes is not None
            and virtual_bytes - before_bytes > len(ballast) / 2
            and details.uss_bytes > len(ballast)
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
    memory = psutil.Process().memory_info()
    assert readings.virtual_bytes() == pytest.approx(memory.vms, rel=0.05)
    faults = readings.faults()
    assert faults is not None
    assert 0 < faults.minor <= faults_by_rusage().minor
    assert readings.limit_bytes() is None
    assert readings.limit_usage_bytes() is None
    assert readings.limit_events() is None
    assert readings.pressure() is None


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
