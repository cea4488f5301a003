# SPDX-License-Identifier: Apache-2.0
"""What a native source counts: spans that ended, and what the collector did."""

from __future__ import annotations

import gc
import os
import time

from _entries import start
from _tools import assert_close, run_case, say
from opentelemetry.sdk.trace import TracerProvider, _TracerConfig
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from span_fork import in_child

from otel_memory import spans
from otel_memory.heap import _core

CYCLES = 300
CYCLE_BYTES = 100_000
FULL = {"generation": 2}


class Cycle:
    """Goes in a collection only."""

    def __init__(self):
        self.me = self
        self.block = bytearray(CYCLE_BYTES)


def case_all_spans_that_end_are_counted():
    tracer, source = start(sampler=TraceIdRatioBased(0.5))
    kept = []
    for number in range(100):
        with tracer.start_as_current_span("entry"):
            child = tracer.start_span("child", context=None)
            child.end()
            child.end()
            kept.append(tracer.start_span("never ended"))
        if number == 49:
            assert source.completed() == 100
    recorded = sum(span.is_recording() for span in kept)
    assert 0 < recorded < 100, "the sampler has not decided both ways"
    assert source.completed() == 200


def case_a_disabled_tracers_spans_are_none():
    _, source = start()
    provider = TracerProvider()
    enabled, disabled = provider.get_tracer("on"), provider.get_tracer("off")
    disabled._set_tracer_config(_TracerConfig(is_enabled=False))
    with enabled.start_as_current_span("on"):
        disabled.start_span("off").end()
    assert source.completed() == 1


def counts(source):
    return [
        source.completed(),
        source.entries_dropped(),
        source.take_entries(),
        sum(row.count for row in source.collections()),
        sum(row.pause_seconds for row in source.collections()),
        sum(row.freed_bytes for row in source.collections()),
    ]


def case_a_forked_child_starts_empty():
    tracer, source = start(sampler=ALWAYS_OFF)
    source.take_entries()
    for _ in range(5000):
        tracer.start_span("the parent's").end()
    Cycle()
    gc.collect()
    gc.disable()
    dropped = source.entries_dropped()
    assert dropped == 5000 - 4096

    def child():
        first = counts(source)
        Cycle()
        gc.collect()
        tracer.start_span("the child's").end()
        collected = source.collections()[2]
        return [first, source.completed(), source.take_entries(), collected]

    first, completed, entries, collected = in_child(child)
    assert first == [0, 0, [], 0, 0, 0]
    assert completed == 1
    assert [entry[0] for entry in entries] == ["the child's"]
    assert collected[1] == 1
    assert collected[3] > CYCLE_BYTES
    assert source.completed() == 5000
    assert source.entries_dropped() == dropped
    assert len(source.take_entries()) == 4096


def case_a_child_of_a_collection_has_none():
    """Forked by a finalizer: what it sees the end of began as its parent's."""
    _, source = start()
    pids = []

    class Forks(Cycle):
        def __del__(self):
            pids.append(os.fork())

    gc.disable()
    Forks()
    gc.collect()
    # Here the parent is after its collection, and so is the child.
    collected = counts(source)[3:]
    if pids == [0]:
        os._exit(0 if collected == [0, 0, 0] else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert source.collections()[2].count == 1


def case_a_collection_tells_what_it_freed_and_how_long_it_took():
    _, source = start()
    gc.collect()
    gc.disable()
    before = source.collections()
    for _ in range(CYCLES):
        Cycle()
    started = time.perf_counter()
    gc.collect()
    wall_seconds = time.perf_counter() - started
    after = source.collections()
    say(before, after, wall_seconds)
    assert [row.generation for row in after] == [0, 1, 2]
    assert after[:2] == before[:2]
    assert after[2].count == before[2].count + 1
    freed_bytes = after[2].freed_bytes - before[2].freed_bytes
    assert_close(freed_bytes, CYCLES * CYCLE_BYTES, share=0.05)
    pause_seconds = after[2].pause_seconds - before[2].pause_seconds
    assert 0 < pause_seconds <= wall_seconds


def case_young_collections_are_told_apart():
    _, source = start()
    gc.collect()
    gc.disable()
    for generation in (0, 1):
        before = source.collections()
        Cycle()
        gc.collect(generation)
        after = source.collections()
        changed = [row for row, was in zip(after, before, strict=True) if row != was]
        (row,) = changed
        assert row.generation == generation
        assert row.count == before[generation].count + 1
        freed_bytes = row.freed_bytes - before[generation].freed_bytes
        assert_close(freed_bytes, CYCLE_BYTES, slack=5_000)
        assert row.pause_seconds > before[generation].pause_seconds


def case_what_others_take_meanwhile_is_not_set_off():
    _, source = start()
    gc.collect()
    gc.disable()
    kept = []

    class Takes(Cycle):
        def __del__(self):
            kept.append(bytearray(5 * CYCLE_BYTES))

    before = source.collections()[2]
    Takes()
    gc.collect()
    freed_bytes = source.collections()[2].freed_bytes - before.freed_bytes
    assert_close(freed_bytes, CYCLE_BYTES, slack=5_000)


def case_a_lost_end_is_no_long_pause():
    _, source = start()
    gc.disable()
    spans.uninstall()
    before = source.collections()
    for lose in (source.close, lambda: spans.install(native=True, span_filter=None)):
        _core.gc_callback("start", FULL)
        lose()
        _core.gc_callback("stop", FULL)
        assert source.collections() == before
    # The next one counts for itself.
    _core.gc_callback("start", FULL)
    _core.gc_callback("start", {"generation": 0})
    _core.gc_callback("stop", FULL)
    assert source.collections() == before
    _core.gc_callback("stop", {"generation": 0})
    assert source.collections()[0].count == before[0].count + 1
    assert source.collections()[1:] == before[1:]


def case_strange_generations_are_none():
    _, source = start()
    gc.disable()
    before = source.collections()
    for generation in (-1, 3, 10**30, "2", None):
        for phase in ("start", "stop"):
            _core.gc_callback(phase, {"generation": generation})
    assert source.collections() == before


def case_lost_figures_say_nothing_of_what_was_freed():
    _, source = start()
    gc.collect()
    _core.mark_lost()
    row = source.collections()[2]
    assert row.count > 0
    assert row.pause_seconds > 0
    assert row.freed_bytes is None


if __name__ == "__main__":
    run_case()
