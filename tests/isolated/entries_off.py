# SPDX-License-Identifier: Apache-2.0
"""What is known without the counting core: collections' pauses, and traffic."""

from __future__ import annotations

import gc
import os
import time

from _entries import start
from _tools import MIB, run_case
from opentelemetry.sdk.trace import TracerProvider, _TracerConfig
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from span_fork import in_child

from otel_memory import rss_spans
from otel_memory.heap import open_source


def closed_is_as_before(source, callbacks):
    source.close()
    source.close()
    assert gc.callbacks == callbacks
    before = source.collections()
    gc.collect()
    assert source.collections() == before


def tells_pauses(name):
    callbacks = list(gc.callbacks)
    source = open_source(name)
    gc.collect()
    gc.disable()
    before = source.collections()
    started = time.perf_counter()
    gc.collect()
    gc.collect(1)
    wall_seconds = time.perf_counter() - started
    after = source.collections()
    assert [row.generation for row in after] == [0, 1, 2]
    counts = [row.count - was.count for row, was in zip(after, before, strict=True)]
    assert counts == [0, 1, 1]
    for generation in (1, 2):
        pause = after[generation].pause_seconds - before[generation].pause_seconds
        assert 0 < pause <= wall_seconds
    assert {row.freed_bytes for row in after} == {None}
    assert source.completed() is None
    assert source.take_entries() == []
    assert source.entries_dropped() == 0
    closed_is_as_before(source, callbacks)


def case_off_tells_pauses():
    tells_pauses("off")


def case_tracemalloc_tells_pauses():
    tells_pauses("tracemalloc")


def case_two_sources_follow_one_collector():
    callbacks = list(gc.callbacks)
    first, second = open_source("off"), open_source("tracemalloc")
    gc.disable()
    before = second.collections()[2].count
    gc.collect()
    assert second.collections()[2].count == before + 1
    first.close()
    gc.collect()
    assert second.collections()[2].count == before + 2
    second.close()
    assert gc.callbacks == callbacks
    # What was counted in this process stays counted.
    third = open_source("off")
    assert third.collections()[2].count == before + 2
    third.close()


def case_a_forked_child_has_no_pauses_yet():
    source = open_source("off")
    gc.collect()
    gc.disable()

    def child():
        first = [list(row) for row in source.collections()]
        gc.collect()
        return first, source.collections()[2].count

    first, count = in_child(child)
    assert first == [[generation, 0, 0.0, None] for generation in range(3)]
    assert count == 1
    assert source.collections()[2].count > 0


def case_a_child_of_a_collection_has_none():
    source = open_source("off")
    gc.disable()
    pids = []

    class Forks:
        def __init__(self):
            self.me = self

        def __del__(self):
            pids.append(os.fork())

    Forks()
    gc.collect()
    if pids == [0]:
        os._exit(source.collections()[2].count)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert source.collections()[2].count == 1


def case_a_lost_end_is_no_long_pause():
    source = open_source("off")
    gc.disable()
    (callback,) = [c for c in gc.callbacks if c.__module__.startswith("otel_memory")]
    before = source.collections()
    callback("start", {"generation": 2})
    source.close()
    again = open_source("off")
    callback("stop", {"generation": 2})
    assert again.collections() == before
    callback("start", {"generation": 2})
    callback("stop", {"generation": 1})
    callback("stop", {"generation": 2})
    for strange in ({}, {"generation": 7}, None):
        callback("start", strange)
        callback("stop", strange)
    assert again.collections() == before
    again.close()


def case_traffic_is_counted():
    tracer, _ = start("off")
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("unsampled")
    kept = []
    for own in (tracer, unsampled):
        before = rss_spans.completed_count()
        for _ in range(50):
            with own.start_as_current_span("entry"):
                child = own.start_span("child")
                bytearray(MIB)
                child.end()
                child.end()
                kept.append(own.start_span("never ended"))
        assert rss_spans.completed_count() - before == 100


def case_a_disabled_tracers_spans_are_no_traffic():
    tracer, _ = start("off")
    disabled = TracerProvider().get_tracer("off")
    disabled._set_tracer_config(_TracerConfig(is_enabled=False))
    with tracer.start_as_current_span("on"):
        disabled.start_span("off").end()
    with tracer.start_as_current_span("on") as span:
        disabled.start_span("off", None).end()
    disabled.start_span("off").end()
    assert span.end() is None
    assert rss_spans.completed_count() == 2


def case_a_forked_child_has_no_traffic_yet():
    tracer, _ = start("off")
    for _ in range(3):
        tracer.start_span("the parent's").end()

    def child():
        first = rss_spans.completed_count()
        tracer.start_span("the child's").end()
        return first, rss_spans.completed_count()

    assert in_child(child) == [0, 1]
    assert rss_spans.completed_count() == 3


if __name__ == "__main__":
    run_case()
