# SPDX-License-Identifier: Apache-2.0
"""All of a recording is read in one pass over its file."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from otel_memory import semconv
from otel_memory.errors import CommandError
from otel_memory.recording.details import read_details
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.fold import summarise
from otel_memory.recording.otlp import write_attributes
from otel_memory.sites import Frame

START_SECONDS = 1_700_000_000.0
PAIR = ("list", "INTERNAL", "GET /", "span")
FRAMES = [["/srv/shop/cache.py", 41, "fill"]]


def nanoseconds(seconds):
    return str(int((START_SECONDS + seconds) * 1e9))


def resource(pid):
    return {"attributes": write_attributes({"process.pid": pid})}


def metrics(pid, seconds, rss_bytes, live_bytes=None):
    time = {"timeUnixNano": nanoseconds(seconds)}
    values = zip(semconv.SPAN_ROW_ATTRIBUTES, PAIR, strict=True)
    found = [(semconv.PROCESS_RSS.name, {"asInt": str(rss_bytes), **time})]
    if live_bytes is not None:
        attributes = write_attributes(dict(values))
        point = {"asInt": str(live_bytes), "attributes": attributes, **time}
        found.append((semconv.SPAN_LIVE.name, point))
    those = [{"name": name, "sum": {"dataPoints": [point]}} for name, point in found]
    part = {"resource": resource(pid), "scopeMetrics": [{"metrics": those}]}
    return {"resourceMetrics": [part]}


def profile(pid, seconds, live_bytes, *, final=False, on_demand=False):
    keys = dict(zip(("span", "kind", "entry", "sort"), PAIR, strict=True))
    figures = {"live_bytes": live_bytes, "samples": 1, "live_samples": 1}
    body = {
        "schema": 1,
        "rate_bytes": 524288,
        "frames": FRAMES,
        "pairs": [{**keys, **figures}],
        "stacks": [{**keys, **figures, "frames": [0]}],
    }
    record = {
        "timeUnixNano": nanoseconds(seconds),
        "eventName": semconv.EVENT_HEAP_PROFILE,
        "body": {"stringValue": json.dumps(body)},
        "attributes": write_attributes(
            {
                semconv.ATTR_PROFILE_FINAL: final,
                semconv.ATTR_PROFILE_ON_DEMAND: on_demand,
            }
        ),
    }
    part = {"resource": resource(pid), "scopeLogs": [{"logRecords": [record]}]}
    return {"resourceLogs": [part]}


def spans(*peaks, filling=""):
    those = [
        {
            "name": str(peak),
            "filling": filling,
            "attributes": write_attributes({semconv.SPAN_HEAP_PEAK: peak}),
        }
        for peak in peaks
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": those}]}]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


def write(path, *lines, time_seconds=START_SECONDS):
    writer = RecordingWriter(path, Start(("python", "app.py"), "/srv", time_seconds))
    for line in lines:
        writer.write(line)
    writer.close(0)
    return path


def test_everything_is_read_and_the_summary_is_that_of_the_report(path):
    write(
        path,
        metrics(1, 1, 100, 10),
        profile(1, 1, 10),
        spans(5, 7),
        metrics(2, 1.5, 50, 1),
        metrics(1, 2, 120, 30),
        profile(1, 2, 30, final=True),
        profile(2, 3, 1),
    )
    details = read_details(path)
    assert details.summary == summarise(path)
    assert details.directory == "/srv"
    assert details.start_seconds == START_SECONDS
    assert [
        (each.pid, each.time_seconds, each.is_final) for each in details.profiles
    ] == [
        (1, START_SECONDS + 2, True),
        (2, START_SECONDS + 3, False),
    ]
    assert details.profiles[0].stacks[0].frames == (Frame(*FRAMES[0]),)
    assert [
        (each.pid, each.seconds, each.rss_bytes) for each in details.process_timelines
    ] == [(1, (1, 2), (100, 120)), (2, (1.5,), (50,))]
    (timeline,) = details.live_timelines
    assert timeline.name == "list"
    assert timeline.live_bytes == (10, 11, 31)
    assert [span.peak_bytes for span in details.largest_spans] == [7, 5]


def test_a_profile_taken_at_a_moment_is_a_recording(path):
    write(path, metrics(1, 0, 100), profile(1, 0, 30, on_demand=True))
    details = read_details(path)
    assert details.summary.processes[0].ended == "running"
    (row,) = details.summary.spans
    assert (row.name, row.live_bytes, row.live_samples) == ("list", 30, 1)
    assert details.summary.processes[0].rss_end_bytes == 100
    assert details.live_timelines == ()
    assert details.largest_spans == ()


def test_the_service_is_the_first_that_is_named(path):
    named = [metrics(1, 1, 100) for _ in range(3)]
    for line, name in zip(named, ("", "shop", "other"), strict=True):
        (part,) = line["resourceMetrics"]
        part["resource"] = {"attributes": write_attributes({"service.name": name})}
    assert read_details(write(path, spans(5), *named)).service_name == "shop"


def test_nothing_is_nothing(path):
    details = read_details(write(path))
    assert details.service_name is None
    assert details.profiles == ()
    assert details.process_timelines == ()
    assert details.summary.spans == ()


def test_without_a_time_the_run_began_with_its_first_report(path):
    write(path, metrics(1, 5, 1), metrics(2, 4, 1), time_seconds=0.0)
    details = read_details(path)
    assert details.start_seconds == START_SECONDS + 4
    assert [each.seconds for each in details.process_timelines] == [(1,), (0,)]


def test_a_file_that_is_no_recording_is_said(path):
    path.write_text("hello\n")
    with pytest.raises(CommandError, match="not a recording"):
        read_details(path)


def test_memory_does_not_grow_with_the_recording(path):
    lines = [spans(*range(at, at + 20), filling="x" * 20_000) for at in range(100)]
    reports = [metrics(1, at, at, at) for at in range(3000)]
    write(path, *lines, *reports)
    size_bytes = path.stat().st_size
    read_details(path)  # Whatever is made once is made.
    tracemalloc.start()
    try:
        details = read_details(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes > 40 * 1024**2
    assert peak_bytes < 4 * 1024**2
    assert len(details.largest_spans) == 30
    assert len(details.process_timelines[0].seconds) <= 1000
