# SPDX-License-Identifier: Apache-2.0
"""Entry spans that end are kept with their peaks until they are taken."""

from __future__ import annotations

import gc
import sys

from _entries import remote_context, start
from _tools import MIB, assert_close, run_case
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from otel_memory.heap import _core
from otel_memory.span_filter import Glob, SpanFilter

ROOM = 4096


def names(source):
    return [entry.name for entry in source.take_entries()]


def case_peaks_arrive_in_order_with_the_ids_of_their_traces():
    tracer, source = start()
    assert source.take_entries() == []
    contexts, kept = [], []
    for size in range(1, 6):
        with tracer.start_as_current_span(f"of {size}", kind=SpanKind.SERVER) as span:
            contexts.append(span.get_span_context())
            kept.append(bytearray(size * MIB))
            block = bytearray(2 * size * MIB)  # freed, but it was there
            del block
    entries = source.take_entries()
    assert [entry.name for entry in entries] == [f"of {size}" for size in range(1, 6)]
    for size, context, entry in zip(range(1, 6), contexts, entries, strict=True):
        assert_close(entry.peak_bytes, 3 * size * MIB)
        assert entry.kind == "SERVER"
        assert (entry.trace_id, entry.span_id, entry.trace_flags & 1) == (
            *(context.trace_id, context.span_id, 1),
        )
    assert source.take_entries() == []


def case_children_are_no_entries_and_count_for_theirs():
    tracer, source = start()
    source.take_entries()
    with tracer.start_as_current_span("entry"):
        block = bytearray(MIB)
        with tracer.start_as_current_span("child"):
            bytearray(4 * MIB)
        del block
    (entry,) = source.take_entries()
    assert entry.name == "entry"
    assert_close(entry.peak_bytes, 5 * MIB)


def case_a_span_with_a_remote_parent_is_an_entry():
    tracer, source = start()
    source.take_entries()
    context = remote_context(0x1234, 0x5678)
    with tracer.start_as_current_span("of another's trace", context=context):
        bytearray(MIB)
    (entry,) = source.take_entries()
    assert entry.trace_id == 0x1234
    assert entry.span_id not in (0, 0x5678)
    assert_close(entry.peak_bytes, MIB, slack=20_000)


def case_unsampled_ones_have_a_peak_and_no_ids():
    tracer, source = start(sampler=ALWAYS_OFF)
    source.take_entries()
    with (
        tracer.start_as_current_span("unsampled", kind=SpanKind.CONSUMER),
        tracer.start_as_current_span("child"),
    ):
        bytearray(3 * MIB)
    (entry,) = source.take_entries()
    assert entry[:2] == ("unsampled", "CONSUMER")
    assert entry[3:] == (0, 0, 0)
    assert_close(entry.peak_bytes, 3 * MIB)


def case_those_without_attributes_have_a_peak():
    span_filter = SpanFilter([Glob("in a test", "something else")], [], [])
    tracer, source = start(span_filter=span_filter)
    source.take_entries()
    with tracer.start_as_current_span("filtered") as span:
        bytearray(MIB)
    assert not span.attributes
    (entry,) = source.take_entries()
    assert_close(entry.peak_bytes, MIB, slack=20_000)
    assert entry.trace_id == span.get_span_context().trace_id


def case_names_are_those_in_the_end():
    tracer, source = start()
    source.take_entries()
    with tracer.start_as_current_span("GET") as span:
        span.update_name("GET /products/{id}")
    with tracer.start_as_current_span("GET") as span:
        pass
    span.update_name("too late")
    assert names(source) == ["GET /products/{id}", "GET"]


def case_nothing_is_kept_before_somebody_asks():
    tracer, source = start()
    before = _core.health()["memory_bytes"]
    with tracer.start_as_current_span("unasked"):
        pass
    assert source.take_entries() == []
    assert _core.health()["memory_bytes"] - before >= ROOM * 40
    with tracer.start_as_current_span("asked"):
        pass
    assert names(source) == ["asked"]


def case_a_full_room_drops_the_newest_and_counts_them():
    tracer, source = start(sampler=ALWAYS_OFF)
    source.take_entries()
    for number in range(ROOM // 2):
        tracer.start_span(f"first {number}").end()
    assert len(source.take_entries()) == ROOM // 2
    for number in range(ROOM + 10):  # past the end of the room, and around
        tracer.start_span(f"second {number}").end()
    assert source.entries_dropped() == 10
    assert names(source) == [f"second {number}" for number in range(ROOM)]
    tracer.start_span("third").end()
    assert names(source) == ["third"]
    assert source.entries_dropped() == 10


def case_spans_may_end_while_entries_are_taken():
    """A finalizer ends spans in whatever allocates, and that is what taking does."""
    tracer, source = start(sampler=ALWAYS_OFF)
    source.take_entries()

    class Late:
        def __init__(self, number):
            self.me = self
            self.span = tracer.start_span(f"late {number}")

        def __del__(self):
            self.span.end()

    gc.disable()
    for number in range(200):
        tracer.start_span(f"early {number}").end()
        Late(number)
    gc.set_threshold(10, 2, 2)
    gc.enable()
    taken = names(source)
    gc.collect()
    gc.disable()
    taken += names(source)
    assert [name for name in taken if name.startswith("early")] == [
        f"early {number}" for number in range(200)
    ]
    assert len(taken) == len(set(taken)) == 400


def case_a_kept_entry_is_no_open_span_and_no_account():
    tracer, source = start()
    source.take_entries()
    _core.set_sampling(False)  # samples take room, too
    for _ in range(10):
        tracer.start_span("warm-up").end()
    before = _core.health()["memory_bytes"]
    for _ in range(1000):
        tracer.start_span("ended").end()
    _core.pairs()
    health = _core.health()
    assert health["open_spans"] == 0
    assert health["memory_bytes"] - before < 10_000
    assert health["memory_bytes"] <= health["memory_bound_bytes"]
    (row,) = [row for row in _core.pairs() if row[1] == "ended"]
    assert row[4] == 1000


def case_a_closed_source_keeps_nothing():
    tracer, source = start(sampler=ALWAYS_OFF)
    source.take_entries()
    name = "held " * 3
    with tracer.start_as_current_span(name):
        pass
    references = sys.getrefcount(name)
    before = _core.health()["memory_bytes"]
    source.close()
    assert sys.getrefcount(name) < references
    assert before - _core.health()["memory_bytes"] >= ROOM * 40
    with tracer.start_as_current_span("after"):
        pass
    assert _core.take_entries() == []


def case_a_closed_source_stays_closed():
    _, source = start()
    before = _core.health()["memory_bytes"]
    source.close()
    assert source.take_entries() == []
    assert _core.health()["memory_bytes"] - before < ROOM


def case_lost_figures_are_no_peaks():
    tracer, source = start()
    source.take_entries()
    _core.mark_lost()
    with tracer.start_as_current_span("lost"):
        bytearray(MIB)
    assert source.take_entries() == []
    assert source.completed() == 1


if __name__ == "__main__":
    run_case()
