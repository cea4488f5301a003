# SPDX-License-Identifier: Apache-2.0
"""instrument, uninstrument, instrument: nothing is doubled, nothing stays behind."""

from __future__ import annotations

import gc
import threading

import wrapt
from _tools import (
    MIB,
    Logged,
    attributes_of,
    metric_points,
    raised_by,
    rows,
    run_case,
    start,
    start_with,
    telemetry,
)
from opentelemetry import metrics, trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import NonRecordingSpan

from otel_memory import MemoryInstrumentor, semconv

METHODS = (
    (Tracer, "start_span"),
    (Span, "end"),
    (Span, "update_name"),
    (NonRecordingSpan, "end"),
    (NonRecordingSpan, "update_name"),
    (ContextVarsRuntimeContext, "attach"),
    (ContextVarsRuntimeContext, "detach"),
)
ORIGINAL = tuple(vars(owner)[name] for owner, name in METHODS)


def present():
    return tuple(vars(owner)[name] for owner, name in METHODS)


def ours(attributes):
    return {name for name in attributes if name.startswith("otel_memory.")}


def watchers():
    return [t for t in threading.enumerate() if t.name == "otel-memory-watcher"]


def counts():
    return {
        attributes["span.name"]: value
        for value, attributes in metric_points().get("otel_memory.span.count", [])
        if attributes["otel_memory.sort"] == "span"
    }


def case_uninstrument_takes_everything_out():
    callbacks = list(gc.callbacks)
    tracer = start()
    assert all(now is not was for now, was in zip(present(), ORIGINAL, strict=True))
    with tracer.start_as_current_span("on"):
        pass
    assert ours(attributes_of("on"))
    MemoryInstrumentor().uninstrument()
    assert all(now is was for now, was in zip(present(), ORIGINAL, strict=True))
    assert gc.callbacks == callbacks
    with tracer.start_as_current_span("off"):
        pass
    assert not ours(attributes_of("off"))
    assert not [name for name in metric_points() if name.startswith("otel_memory.")]
    for thread in watchers():
        thread.join(10)
    assert not watchers()


def case_instrument_again_works_and_doubles_nothing():
    tracer = start()
    for round_ in range(1, 4):
        with tracer.start_as_current_span("again") as span:
            block = bytes(MIB)
        del block
        assert len(ours(span.attributes)) == 6
        assert MIB <= span.attributes["otel_memory.heap.allocated"] < 1.1 * MIB
        points = metric_points()
        rows = (*semconv.METRICS, *semconv.CONVENTION_METRICS)
        assert set(points) <= {metric.name for metric in rows}
        for name, rows_ in points.items():
            keys = [tuple(sorted(attributes.items())) for _, attributes in rows_]
            assert len(keys) == len(set(keys)), name
        assert [value for value, _ in points["otel_memory.heap.source"]] == [1]
        assert counts() == {"again": round_}
        assert len([c for c in gc.callbacks if "gc_callback" in repr(c)]) == 1
        MemoryInstrumentor().uninstrument()
        assert metric_points() == {}
        MemoryInstrumentor().instrument()
    for thread in watchers()[:-1]:
        thread.join(10)
    assert len(watchers()) == 1


def case_a_second_instrument_is_refused_and_harmless():
    tracer = start()
    before = present()
    logged = Logged()
    MemoryInstrumentor().instrument()
    assert len(logged.about("already instrumented")) == 1, logged.lines
    assert present() == before
    with tracer.start_as_current_span("once"):
        pass
    assert counts() == {"once": 1}
    assert len(watchers()) == 1


def case_uninstrument_first_is_harmless():
    MemoryInstrumentor().uninstrument()
    tracer = start()
    with tracer.start_as_current_span("x"):
        pass
    assert ours(attributes_of("x"))


def case_a_span_that_is_open_meanwhile_ends_well():
    tracer = start()
    span = tracer.start_span("open")
    with trace.use_span(span):
        MemoryInstrumentor().uninstrument()
    span.end()
    assert not ours(attributes_of("open"))
    late = tracer.start_span("started without us")
    MemoryInstrumentor().instrument()
    late.end()
    assert not ours(attributes_of("started without us"))
    over = tracer.start_span("over both")
    with trace.use_span(over):
        MemoryInstrumentor().uninstrument()
        MemoryInstrumentor().instrument()
        with tracer.start_as_current_span("inside"):
            pass
    over.end()
    assert ours(attributes_of("inside"))


def case_a_wrapper_around_ours_keeps_working():
    tracer = start()
    calls = []

    def around(wrapped, instance, args, kwargs):
        calls.append("end")
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(Span, "end", around)
    for instrumented in (True, False, True):
        telemetry.exporter.clear()
        calls.clear()
        with tracer.start_as_current_span("wrapped"):
            pass
        assert calls == ["end"]
        assert bool(ours(attributes_of("wrapped"))) == instrumented
        if instrumented:
            MemoryInstrumentor().uninstrument()
        else:
            MemoryInstrumentor().instrument()
    assert {row.name: row.count for row in rows()} == {"wrapped": 2}


def case_providers_may_come_after_us():
    MemoryInstrumentor().instrument()
    tracer, meter = trace.get_tracer("early"), metrics.get_meter("early")
    with tracer.start_as_current_span("proxy"):
        pass
    assert meter
    MemoryInstrumentor().uninstrument()
    telemetry_start = start
    tracer_now = telemetry_start()
    with tracer.start_as_current_span("early tracer"):
        pass
    with tracer_now.start_as_current_span("late tracer"):
        pass
    assert ours(attributes_of("early tracer"))
    assert ours(attributes_of("late tracer"))


def case_a_meter_provider_that_comes_late_shows_figures():
    MemoryInstrumentor().instrument()
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    telemetry.reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([telemetry.reader]))
    assert "otel_memory.process.rss" in metric_points()


def case_a_second_provider_has_attributes_too():
    start()
    second = TracerProvider()
    second.add_span_processor(SimpleSpanProcessor(telemetry.exporter))
    with second.get_tracer("second").start_as_current_span("second"):
        pass
    assert ours(attributes_of("second"))


def case_an_explicit_meter_provider_is_used():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    mine = InMemoryMetricReader()
    start_with(TracerProvider(), meter_provider=MeterProvider([mine]))
    assert metric_points() == {}
    telemetry.reader = mine
    assert "otel_memory.process.rss" in metric_points()


def case_wrong_arguments_raise_and_leave_nothing():
    for arguments in ({"heap": "nonsense"}, {"nonsense": 1}, {"limit_bytes": "lots"}):
        error = raised_by(MemoryInstrumentor().instrument, **arguments)
        assert type(error) is ValueError
        (name,) = arguments
        assert name in str(error), error
        assert all(now is was for now, was in zip(present(), ORIGINAL, strict=True))
    tracer = start()
    with tracer.start_as_current_span("x"):
        pass
    assert ours(attributes_of("x"))


def case_counters_do_not_fall_when_instrumented_again():
    tracer = start(max_span_names=5)
    for i in range(200):
        with tracer.start_as_current_span(f"name {i}"):
            pass
    metric_points()
    for _ in range(200):
        with tracer.start_as_current_span("name 7"):
            pass
    before = all_counts()
    MemoryInstrumentor().uninstrument()
    MemoryInstrumentor().instrument(max_span_names=5)
    after = all_counts()
    for key, value in before.items():
        assert after.get(key, 0) >= value, (key, value, after.get(key))


def all_counts():
    return {
        tuple(sorted(attributes.items())): value
        for value, attributes in metric_points()["otel_memory.span.count"]
    }


if __name__ == "__main__":
    run_case()
