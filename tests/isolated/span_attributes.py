# SPDX-License-Identifier: Apache-2.0
"""Attributes are on a span, whoever exports it, and however it ends."""

from __future__ import annotations

import threading
import time

from _tools import MIB, Logged, attributes_of, run_case, start, start_with, telemetry
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanLimits,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from otel_memory import semconv

TYPES = {"int": int, "bool": bool}
# Only where the span was sampled and took more than a threshold.
ON_EVERY_SPAN = {
    attribute.name: TYPES[attribute.type]
    for attribute in semconv.SPAN_ATTRIBUTES
    if attribute.name != semconv.SPAN_HEAP_TOP_SITES
}


def ours(attributes):
    return {k: v for k, v in attributes.items() if k.startswith("otel_memory.")}


def types_of(attributes):
    return {name: type(value) for name, value in ours(attributes).items()}


def _through(multi_processor, kinds, *, first):
    exporters = [InMemorySpanExporter() for _ in kinds]
    provider = TracerProvider(active_span_processor=multi_processor)

    def add():
        for kind, exporter in zip(kinds, exporters, strict=True):
            provider.add_span_processor(kind(exporter))

    if first:
        add()
    tracer = start_with(provider)
    if not first:
        add()
    with tracer.start_as_current_span("work"):
        block = bytes(MIB)
    del block
    provider.force_flush()
    for exporter in (*exporters, telemetry.exporter):
        (span,) = exporter.get_finished_spans()
        assert types_of(span.attributes) == ON_EVERY_SPAN, span.attributes
        assert span.attributes["otel_memory.heap.allocated"] >= MIB


def case_simple_before_batch():
    _through(
        SynchronousMultiSpanProcessor(),
        [SimpleSpanProcessor, BatchSpanProcessor],
        first=True,
    )


def case_batch_before_simple():
    _through(
        SynchronousMultiSpanProcessor(),
        [BatchSpanProcessor, SimpleSpanProcessor],
        first=True,
    )


def case_processors_that_come_after_us():
    _through(
        SynchronousMultiSpanProcessor(),
        [SimpleSpanProcessor, BatchSpanProcessor],
        first=False,
    )


def case_concurrent_processors():
    _through(
        ConcurrentMultiSpanProcessor(2),
        [BatchSpanProcessor, SimpleSpanProcessor],
        first=True,
    )


def case_values_have_the_types_and_names_of_the_table():
    tracer = start()
    with tracer.start_as_current_span("parent"), tracer.start_as_current_span("child"):
        pass
    for name in ("parent", "child"):
        assert types_of(attributes_of(name)) == ON_EVERY_SPAN, attributes_of(name)


def case_without_room_the_users_attributes_stay():
    tracer = start_with(TracerProvider(span_limits=SpanLimits(max_span_attributes=3)))
    users = {"first": 1, "second": 2, "third": 3}
    with tracer.start_as_current_span("full", attributes=users):
        pass
    assert attributes_of("full") == users
    with tracer.start_as_current_span("one is left", attributes={"first": 1, "x": 2}):
        pass
    found = attributes_of("one is left")
    assert found.items() >= {"first": 1, "x": 2}.items()
    assert len(ours(found)) == 1, found
    with tracer.start_as_current_span("empty"):
        pass
    assert len(ours(attributes_of("empty"))) == 3
    (span,) = [s for s in telemetry.exporter.get_finished_spans() if s.name == "full"]
    assert span.dropped_attributes == 0


def case_a_second_end_changes_nothing():
    tracer = start()
    span = tracer.start_span("twice")
    span.end()
    attributes = attributes_of("twice")
    ended = telemetry.exporter.get_finished_spans()[-1].end_time
    block = bytes(MIB)
    logged = Logged()
    span.end()
    span.end(end_time=1)
    assert len(logged.about("Calling end() on an ended span")) == 2
    (exported,) = telemetry.exporter.get_finished_spans()
    assert dict(exported.attributes) == attributes
    assert exported.end_time == ended
    del block


def case_an_explicit_end_time_is_kept():
    tracer = start()
    tracer.start_span("by position").end(1_234_567_890)
    tracer.start_span("by name").end(end_time=1_234_567_891)
    before = time.time_ns()
    tracer.start_span("none").end(end_time=None)
    after = time.time_ns()
    ends = {
        span.name: span.end_time for span in telemetry.exporter.get_finished_spans()
    }
    assert ends["by position"] == 1_234_567_890
    assert ends["by name"] == 1_234_567_891
    assert before <= ends["none"] <= after
    for name in ends:
        assert types_of(attributes_of(name)) == ON_EVERY_SPAN


def case_the_end_is_the_moment_of_the_call():
    tracer = start()
    span = tracer.start_span("now")
    before = time.time_ns()
    span.end()
    after = time.time_ns()
    (exported,) = telemetry.exporter.get_finished_spans()
    assert before <= exported.end_time <= after
    assert exported.end_time >= exported.start_time


def case_a_span_may_end_in_another_thread():
    tracer = start()
    block = None
    with tracer.start_as_current_span("elsewhere", end_on_exit=False) as span:
        block = bytes(2 * MIB)
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()
    attributes = attributes_of("elsewhere")
    assert types_of(attributes) == ON_EVERY_SPAN
    assert 2 * MIB <= attributes["otel_memory.heap.delta"] < 2.1 * MIB, attributes
    del block


class _Records(Sampler):
    def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "records only"


def case_spans_that_are_recorded_only_carry_attributes():
    class Keeps(SimpleSpanProcessor):
        """The exporting ones leave out what is not sampled."""

        def on_end(self, span):
            self.span_exporter.export((span,))

    provider = TracerProvider(sampler=_Records())
    exporter = InMemorySpanExporter()
    provider.add_span_processor(Keeps(exporter))
    tracer = start_with(provider)
    with tracer.start_as_current_span("recorded") as span:
        assert span.is_recording()
        assert not span.get_span_context().trace_flags.sampled
        block = bytes(MIB)
    del block
    (kept,) = exporter.get_finished_spans()
    assert types_of(kept.attributes) == ON_EVERY_SPAN
    assert kept.attributes["otel_memory.heap.peak"] >= MIB
    assert telemetry.exporter.get_finished_spans() == ()


def case_what_is_set_by_the_user_under_our_names_is_overwritten_not_doubled():
    tracer = start()
    with tracer.start_as_current_span("clash") as span:
        span.set_attribute("otel_memory.heap.delta", "mine")
    assert types_of(attributes_of("clash")) == ON_EVERY_SPAN


if __name__ == "__main__":
    run_case()
