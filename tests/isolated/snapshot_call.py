# SPDX-License-Identifier: Apache-2.0
"""A profile is written when somebody asks: whole, private, beside everything else."""

from __future__ import annotations

import errno
import gc
import os
import re
import resource
import stat
import tempfile
import threading
import traceback
import tracemalloc
import warnings
from collections import defaultdict
from pathlib import Path

from _tools import (
    ALLOCATED,
    MIB,
    attributes_of,
    metric_points,
    raised_by,
    run_case,
    start,
)

from otel_memory import MemoryInstrumentor, semconv, write_heap_profile
from otel_memory.metrics import _readout
from otel_memory.recording.file import RecordingReader
from otel_memory.recording.fold import summarise
from otel_memory.recording.otlp import events, points

BLOCKS, BLOCK_BYTES = 2000, 10_000
# 19 MiB at one sample for 32 KiB are 600 samples: seven deviations are 26 %. That
# many, for a child has a seed of its own.
SHARE = 0.26


def start_sampling(**config):
    from otel_memory.heap import _core

    tracer = start(**config)
    _core.set_sampling(True, rate_bytes=32 * 1024, seed=7)
    return tracer


def hold(tracer, name):
    with tracer.start_as_current_span(name):
        return [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]


def spans_of(path):
    return {row.name: row for row in summarise(path).spans if row.sort == "span"}


def assert_held(path, *names):
    rows = spans_of(path)
    for name in names:
        share = rows[name].live_bytes / (BLOCKS * BLOCK_BYTES)
        assert 1 - SHARE < share < 1 + SHARE, (name, share)
        assert rows[name].live_samples >= 300


def case_it_holds_what_is_alive():
    tracer = start_sampling()
    kept = hold(tracer, "holder")
    hold(tracer, "generous")
    path = write_heap_profile()
    name = rf"otel-memory-{os.getpid()}-\d{{8}}T\d{{6}}\.jsonl"
    assert re.fullmatch(name, path.name)
    assert path.parent == Path(tempfile.gettempdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert_held(path, "holder")
    assert spans_of(path)["generous"].live_bytes < MIB
    summary = summarise(path)
    ((process),) = summary.processes
    assert (process.pid, process.heap_source) == (os.getpid(), "native")
    assert process.rss_end_bytes > BLOCKS * BLOCK_BYTES
    assert summary.duration_seconds > 0
    site = summary.sites[0]
    assert site.span == "holder", summary.sites
    assert site.file.endswith(Path(__file__).name), summary.sites
    assert any("it went on after that" in note for note in summary.notes)
    del kept


def case_it_has_the_figures_of_all_instruments_and_one_profile():
    kept = hold(start_sampling(), "holder")
    path = write_heap_profile()
    lines = list(RecordingReader(path).lines())
    assert [next(iter(line)) for line in lines] == ["resourceMetrics", "resourceLogs"]
    reported = defaultdict(list)
    for point in points(lines[0]):
        reported[point.metric].append((point.value, point.attributes))
    collected = metric_points()
    assert set(reported) == set(collected)
    for metric in semconv.METRICS:
        if metric.name in reported:
            attributes = {name for _, those in reported[metric.name] for name in those}
            assert attributes == set(metric.attributes), metric.name
    assert len(reported["otel_memory.span.heap.live"]) >= 3
    (event,) = events(lines[1])
    assert event.name == semconv.EVENT_HEAP_PROFILE
    assert event.attributes == {
        semconv.ATTR_PROFILE_FINAL: False,
        semconv.ATTR_PROFILE_ON_DEMAND: True,
    }
    assert event.pid == os.getpid()
    del kept


def case_the_work_is_telemetrys():
    tracer = start_sampling()
    kept = hold(tracer, "holder")
    write_heap_profile()  # what is made once and kept
    before = metric_points()
    with tracer.start_as_current_span("asks"):
        paths = [write_heap_profile() for _ in range(5)]
    own_bytes = attributes_of("asks")[ALLOCATED]
    assert own_bytes < 32 * 1024, own_bytes

    def telemetry_bytes(figures):
        rows = figures["otel_memory.span.heap.allocated"]
        return next(v for v, those in rows if those["span.name"] == "(telemetry)")

    assert telemetry_bytes(metric_points()) - telemetry_bytes(before) > 5 * own_bytes
    with tracer.start_as_current_span("afterwards"):
        block = bytearray(MIB)
    assert MIB <= attributes_of("afterwards")[ALLOCATED] < 1.1 * MIB
    assert len(set(paths)) == 5
    del kept, block


def case_a_path_is_taken_as_it_is():
    start_sampling()
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    assert write_heap_profile("relative.jsonl") == folder / "relative.jsonl"
    assert write_heap_profile(Path("path.jsonl")) == folder / "path.jsonl"
    long = "x" * 255
    assert write_heap_profile(long).stat().st_mode & 0o777 == 0o600
    written = ["path.jsonl", "relative.jsonl", long]
    for path in written:
        assert summarise(folder / path).processes
    assert sorted(os.listdir(folder)) == written
    assert isinstance(raised_by(write_heap_profile, b"bytes.jsonl"), TypeError)
    os.mkdir("deeper")
    os.chdir("deeper")
    os.rmdir(folder / "deeper")  # then there is no working directory
    assert summarise(write_heap_profile(folder / "absolute.jsonl")).processes


def case_nothing_is_replaced():
    start_sampling()
    folder = Path(tempfile.mkdtemp())
    (folder / "file").write_text("mine")
    (folder / "link").symlink_to(folder / "nowhere")
    (folder / "folder").mkdir()
    before = sorted(os.listdir(folder))
    for name in before:
        error = raised_by(write_heap_profile, folder / name)
        assert isinstance(error, FileExistsError), error
        assert str(error) == f"[Errno 17] File exists: '{folder / name}'"
    assert sorted(os.listdir(folder)) == before
    assert (folder / "file").read_text() == "mine"


def case_what_cannot_be_written_leaves_nothing():
    start_sampling()
    folder = Path(tempfile.mkdtemp())
    missing = raised_by(write_heap_profile, folder / "no" / "where.jsonl")
    assert isinstance(missing, FileNotFoundError)
    assert str(missing).endswith(f"'{folder / 'no' / 'where.jsonl'}'"), missing
    assert isinstance(
        raised_by(write_heap_profile, "/proc/self/profile.jsonl"), OSError
    )
    assert isinstance(raised_by(write_heap_profile, ""), OSError)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # the disk is full
    full = raised_by(write_heap_profile, folder / "full.jsonl")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(full, OSError)
    assert full.errno == errno.EFBIG
    assert str(folder / "full.jsonl") in str(full)
    assert os.listdir(folder) == []
    assert summarise(write_heap_profile(folder / "full.jsonl")).processes


def case_a_file_system_without_hard_links():
    start_sampling()
    folder = Path(tempfile.mkdtemp())

    def link(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    os.link = link
    path = write_heap_profile(folder / "a.jsonl")
    assert summarise(path).processes
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert isinstance(raised_by(write_heap_profile, path), FileExistsError)
    assert os.listdir(folder) == ["a.jsonl"]
    assert write_heap_profile() != write_heap_profile()


def case_several_at_once():
    tracer = start_sampling(profile_directory=tempfile.mkdtemp())
    kept = hold(tracer, "holder")
    barrier = threading.Barrier(8)
    paths, errors = [], []

    def ask():
        try:
            for _ in range(5):
                barrier.wait(60)
                paths.append(write_heap_profile())
        except BaseException as error:  # noqa: BLE001 - the main thread looks
            errors.append(error)
            barrier.abort()

    def ask_for_the_same():
        barrier.wait(60)
        try:
            same.append(write_heap_profile(folder / "same.jsonl"))
        except FileExistsError as error:
            same.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert len(set(paths)) == 40
    folder = paths[0].parent
    assert sorted(os.listdir(folder)) == sorted(path.name for path in paths)
    for path in paths:
        assert_held(path, "holder")
    same = []
    threads = [threading.Thread(target=ask_for_the_same) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert same.count(folder / "same.jsonl") == 1, same
    assert len(same) == 8
    assert_held(folder / "same.jsonl", "holder")
    del kept


def case_in_a_forked_child():
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    tracer = start_sampling(profile_directory=tempfile.mkdtemp())
    kept = [hold(tracer, "before")]
    write_heap_profile()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kept.append(hold(tracer, "in the child"))
            path = write_heap_profile()
            assert f"-{os.getpid()}-" in path.name
            assert_held(path, "before", "in the child")
            assert [p.pid for p in summarise(path).processes] == [os.getpid()]
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    path = write_heap_profile()
    assert_held(path, "before")
    assert "in the child" not in spans_of(path)


def case_while_the_sdk_collects():
    tracer = start_sampling()
    kept = hold(tracer, "holder")
    for number in range(300):  # more than are shown by themselves
        tracer.start_span(f"name {number}").end()
    expected = metric_points()["otel_memory.span.count"]
    done = threading.Event()
    readings = []

    def collect():
        while not done.is_set():
            readings.append(metric_points()["otel_memory.span.count"])

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(10):
            assert_held(write_heap_profile(), "holder")
    finally:
        done.set()
        thread.join(60)
    assert readings
    assert all(reading == expected for reading in readings)
    del kept


def case_in_a_collection_amid_a_reading():
    kept = hold(start_sampling(), "holder")
    metric_points()
    paths = []

    def ask(phase, info):
        if _readout._lock.locked() and not paths:
            paths.append(write_heap_profile())

    class Asking:
        def __init__(self):
            self.itself = self

        def __del__(self):
            paths.append(write_heap_profile())

    gc.callbacks.append(ask)
    gc.set_threshold(1)  # every second object collects
    points_then = metric_points()
    gc.set_threshold(700)
    gc.callbacks.remove(ask)
    assert len(paths) == 1
    counts = [value for value, _ in points_then["otel_memory.span.count"]]
    assert sum(counts) == 1
    Asking()
    gc.collect()
    assert len(paths) == 2
    for path in paths:
        assert_held(path, "holder")
    del kept


def assert_no_profile(*words):
    error = raised_by(write_heap_profile)
    assert isinstance(error, RuntimeError), error
    for word in ("no heap profile", *words):
        assert word in str(error), error


def case_why_there_is_none():
    assert_no_profile("MemoryInstrumentor().instrument() has not been called")
    start(heap="off")
    assert_no_profile("OTEL_PYTHON_MEMORY_HEAP is off")
    MemoryInstrumentor().uninstrument()
    assert_no_profile("instrument() has not been called")
    tracemalloc.start()
    MemoryInstrumentor().instrument()
    write_heap_profile()
    tracemalloc.stop()  # takes our hooks out
    assert_no_profile("another tool took the allocator hooks out")


def case_without_the_sampler_it_says_that_live_bytes_are_unknown():
    tracer = start(sampling=False)
    kept = hold(tracer, "holder")
    summary = summarise(write_heap_profile())
    (row,) = [row for row in summary.spans if row.name == "holder"]
    assert (row.count, row.live_bytes) == (1, None)
    assert any("OTEL_PYTHON_MEMORY_SAMPLING=false" in note for note in summary.notes)
    del kept


def case_with_tracemalloc_it_has_sites():
    tracer = start(heap="tracemalloc")
    kept = hold(tracer, "holder")
    summary = summarise(write_heap_profile())
    assert summary.sites[0].file.endswith(Path(__file__).name)
    assert summary.sites[0].live_bytes > BLOCKS * BLOCK_BYTES
    assert summary.processes[0].heap_source == "tracemalloc"
    del kept


def case_names_that_explode_are_one_row():
    tracer = start_sampling()
    kept = hold(tracer, "holder")
    for number in range(3000):
        tracer.start_span(f"/item/{number}").end()
    path = write_heap_profile()
    rows = {row.name: row for row in summarise(path).spans}
    assert rows["(other)"].count == 3000
    assert_held(path, "holder")
    assert path.stat().st_size < MIB
    del kept


if __name__ == "__main__":
    run_case()
