# SPDX-License-Identifier: Apache-2.0
"""The recorder keeps a recording small and loses nothing that is summed up."""

from __future__ import annotations

from io import TextIOWrapper
from itertools import pairwise

import pytest

from otel_memory.recording import recorder as module
from otel_memory.recording.file import RecordingReader, RecordingWriter, Start
from otel_memory.recording.otlp import write_attributes
from otel_memory.recording.recorder import Recorder
from otel_memory.semconv import ATTR_PROFILE_FINAL, EVENT_HEAP_PROFILE


class Clock:
    def __init__(self):
        self.now_seconds = 500.0

    def __call__(self):
        return self.now_seconds


def metrics(pid, reading):
    resource = {"attributes": write_attributes({"process.pid": pid})}
    return {"resourceMetrics": [{"resource": resource, "reading": reading}]}


def event(pid, name, **attributes):
    resource = {"attributes": write_attributes({"process.pid": pid})}
    record = {"eventName": name, "attributes": write_attributes(attributes)}
    scope = {"logRecords": [record]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}


def profile(pid, *, final):
    return event(pid, EVENT_HEAP_PROFILE, **{ATTR_PROFILE_FINAL: final})


@pytest.fixture
def run(tmp_path):
    clock = Clock()
    path = tmp_path / "run.jsonl"
    recorder = Recorder(RecordingWriter(path, Start((), "", 0.0)), clock)

    def close():
        recorder.close(0)
        return list(RecordingReader(path).lines())

    yield recorder, clock, close
    recorder._writer._file.close()


def readings(lines, pid):
    ours = [line for line in lines if line == metrics(pid, _reading(line))]
    return [_reading(line) for line in ours]


def _reading(line):
    return line["resourceMetrics"][0]["reading"]


def test_a_short_run_is_kept_whole(run):
    recorder, clock, close = run
    for reading in range(30):
        recorder.record("metrics", metrics(1, reading))
        clock.now_seconds += 0.95
    assert readings(close(), 1) == list(range(30))


def test_a_long_run_keeps_a_reading_every_ten_seconds_and_first_and_last(run):
    recorder, clock, close = run
    for reading in range(7200):
        recorder.record("metrics", metrics(1, reading))
        recorder.record("metrics", metrics(2, reading))
        clock.now_seconds += 1.0
    lines = close()
    for pid in (1, 2):
        kept = readings(lines, pid)
        assert kept[0] == 0
        assert kept[-1] == 7199
        assert 720 <= len(kept) <= 1000
        assert max(b - a for a, b in pairwise(kept)) <= 10
    assert len(lines) == 2 * len(readings(lines, 1))


def test_the_last_report_of_a_process_that_is_gone_is_written_in_time(run):
    recorder, clock, _ = run
    clock.now_seconds += 3600
    recorder.record("metrics", metrics(1, 1))
    clock.now_seconds += 1
    recorder.record("metrics", metrics(1, 2))
    clock.now_seconds += 60
    recorder.record("metrics", metrics(2, 1))
    assert not recorder._held


def test_a_final_profile_and_other_events_are_never_held_back(run):
    recorder, clock, close = run
    clock.now_seconds += 3600
    recorder.record("logs", profile(1, final=False))
    recorder.record("logs", profile(1, final=False))
    recorder.record("logs", event(1, "otel_memory.alert"))
    recorder.record("logs", profile(1, final=True))
    assert not recorder._held
    expected = [
        profile(1, final=False),
        event(1, "otel_memory.alert"),
        profile(1, final=True),
    ]
    assert close() == expected


def test_an_event_that_comes_with_a_profile_is_not_held_back_with_it(run):
    recorder, clock, close = run
    clock.now_seconds += 3600
    recorder.record("logs", profile(1, final=False))
    both = profile(1, final=False)
    (part,) = both["resourceLogs"]
    part["scopeLogs"] += event(1, "otel_memory.alert")["resourceLogs"][0]["scopeLogs"]
    recorder.record("logs", both)
    recorder.record("logs", profile(1, final=False))
    recorder.record("logs", profile(1, final=True))
    assert close() == [profile(1, final=False), both, profile(1, final=True)]


def test_spans_stop_at_the_bound_and_the_recording_says_so(run, monkeypatch):
    recorder, _, _ = run
    monkeypatch.setattr(module, "_SPANS_BYTES_MAX", 1000)
    for _ in range(1000):
        recorder.record("traces", {"resourceSpans": []})
    assert recorder._writer.written_bytes < 3000
    assert any("of spans only" in note for note in recorder.close(0))


def test_a_full_disk_is_told_and_stops_nothing():
    # Unbuffered, for a buffer's flush at its close would fail once more.
    with open("/dev/full", "wb", buffering=0) as raw:
        full = TextIOWrapper(raw, write_through=True)
        writer = RecordingWriter.__new__(RecordingWriter)
        writer._file, writer.written_bytes = full, 0
        writer._start = Start((), "", 0.0)
        recorder = Recorder(writer)
        for _ in range(3):
            recorder.record("traces", {"resourceSpans": [{"x": "x" * 100_000}]})
        assert recorder.close(0) == [
            "The recording is incomplete: No space left on device."
        ]
