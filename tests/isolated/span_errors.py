# SPDX-License-Identifier: Apache-2.0
"""What raises in the SDK raises as it did without us; we never do."""

from __future__ import annotations

import traceback

from _tools import (
    MIB,
    Logged,
    attributes_of,
    raised_by,
    rows,
    run_case,
    start,
    start_with,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler


class Planned(Exception):
    pass


class RaisingSampler(Sampler):
    def should_sample(self, *args, **kwargs):
        raise Planned("sampler")

    def get_description(self):
        return "raises"


class RaisingProcessor(SpanProcessor):
    def __init__(self, where):
        self.where = where

    def on_start(self, span, parent_context=None):
        if self.where == "on_start":
            raise Planned(self.where)

    def _on_ending(self, span):
        if self.where == "_on_ending":
            raise Planned(self.where)

    def on_end(self, span):
        if self.where == "on_end":
            raise Planned(self.where)


class RaisingExporter(SpanExporter):
    def export(self, spans):
        raise Planned("exporter")


def case_a_raising_sampler_raises_as_ever():
    tracer = start_with(TracerProvider(sampler=RaisingSampler()))
    error = raised_by(tracer.start_span, "x")
    assert type(error) is Planned
    assert traceback.extract_tb(error.__traceback__)[-1].name == "should_sample"
    with TracerProvider().get_tracer("good").start_as_current_span("after") as span:
        block = bytearray(MIB)
    del block
    assert MIB <= span.attributes["otel_memory.heap.allocated"] < 1.1 * MIB
    assert [row.name for row in rows()] == ["after"]


def case_a_raising_processor_raises_as_ever():
    for where in ("on_start", "_on_ending", "on_end"):
        provider = TracerProvider()
        if where == "on_start":
            start_with(provider)
        provider.add_span_processor(RaisingProcessor(where))
        tracer = provider.get_tracer("x")
        if where == "on_start":
            error = raised_by(tracer.start_span, where)
        else:
            error = raised_by(tracer.start_span(where).end)
        assert type(error) is Planned, (where, error)
        assert str(error) == where
        assert error.__context__ is None
        assert traceback.extract_tb(error.__traceback__)[-1].name == where
    with TracerProvider().get_tracer("good").start_as_current_span("after") as span:
        block = bytearray(MIB)
    del block
    assert MIB <= span.attributes["otel_memory.heap.allocated"] < 1.1 * MIB


def case_a_raising_exporter_is_the_sdks_affair():
    tracer = start()
    trace.get_tracer_provider().add_span_processor(
        SimpleSpanProcessor(RaisingExporter())
    )
    logged = Logged()
    with tracer.start_as_current_span("exported elsewhere"):
        pass
    assert len(logged.about("Exception while exporting Span")) == 1, logged.lines
    assert attributes_of("exported elsewhere")["otel_memory.heap.allocated"] >= 0


def case_the_applications_exception_passes_unchanged():
    tracer = start()
    planned = Planned("application")

    def fails():
        raise planned

    def works():
        with tracer.start_as_current_span("fails"):
            fails()

    error = raised_by(works)
    assert error is planned
    assert error.__context__ is None
    assert error.__cause__ is None
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == (
        "fails"
    )
    assert "otel_memory.heap.delta" in attributes_of("fails")


def case_wrong_calls_of_the_api_fail_as_ever():
    tracer = start()
    error = raised_by(tracer.start_span)
    assert type(error) is TypeError
    assert "name" in str(error)
    error = raised_by(tracer.start_span, "x", nonsense=1)
    assert type(error) is TypeError
    span = tracer.start_span("x")
    error = raised_by(span.end, 1, 2)
    assert type(error) is TypeError
    error = raised_by(type(span).end)
    assert type(error) is TypeError
    error = raised_by(span.update_name)
    assert type(error) is TypeError


def case_odd_names_are_no_failure():
    class Odd(str):
        pass

    tracer = start()
    for name in ("", "\udc80 lone surrogate", "é" * 3000, "\U0001f600", Odd("odd"), 7):
        with tracer.start_as_current_span(name) as span:
            span.update_name(name)
        assert "otel_memory.heap.delta" in span.attributes, repr(name)
    assert {row.count for row in rows()} == {1}
    assert len(rows()) == 6


if __name__ == "__main__":
    run_case()
