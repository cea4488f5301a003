# SPDX-License-Identifier: Apache-2.0
"""The histogram of entry spans: every one counts, and a spike leads to its trace."""

from __future__ import annotations

from _fork import fork_and_wait
from _metrics import drain, scopes
from _tools import MIB, PEAK, Logged, attributes_of, run_case, start, telemetry
from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler
from opentelemetry.sdk.trace.sampling import SamplingResult as Result
from opentelemetry.trace import SpanKind

from otel_memory import MemoryInstrumentor, _guard, metrics, semconv
from otel_memory.heap import Entry

NAME = semconv.ENTRY_PEAK.name


def histogram(reader=None):
    """Collect once: {(span name, kind): point}."""
    data = (reader or telemetry.reader).get_metrics_data()
    return {
        (
            point.attributes[semconv.ATTR_SPAN_NAME],
            point.attributes[semconv.ATTR_SPAN_KIND],
        ): point
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == NAME
        for point in metric.data.data_points
    }


def begin(**config):
    """Start; entries are kept from the first drain on."""
    tracer = start(interval_seconds=3600, **config)
    drain()
    return tracer


def request(tracer, name, size, inner=True):
    with tracer.start_as_current_span(name, kind=SpanKind.SERVER) as span:
        if inner:
            with tracer.start_as_current_span("inner"):
                block = bytearray(size)
        else:
            block = bytearray(size)
        del block
    return span.get_span_context()


def case_the_exemplar_of_a_spike_is_its_span():
    tracer = begin()
    for _ in range(20):
        request(tracer, "GET /report", 64 * 1024)
    spike = request(tracer, "GET /report", 30 * MIB)
    for _ in range(20):
        request(tracer, "GET /report", 64 * 1024)
    drain()
    points = histogram()
    assert set(points) == {("GET /report", "SERVER")}  # no inner span
    (point,) = points.values()
    assert point.count == 41
    assert 30 * MIB <= point.max < 30.5 * MIB
    (exemplar,) = [each for each in point.exemplars if each.value > MIB]
    assert exemplar.trace_id == spike.trace_id
    assert exemplar.span_id == spike.span_id
    (ended,) = [
        span
        for span in telemetry.exporter.get_finished_spans()
        if span.get_span_context().span_id == spike.span_id
    ]
    assert exemplar.value == ended.attributes[PEAK]
    small = [each for each in point.exemplars if each.value < MIB]
    assert small
    assert all(each.span_id != spike.span_id for each in small)


def case_the_current_span_of_whoever_drains_is_no_exemplar():
    tracer = begin()
    ended = request(tracer, "GET /", MIB)
    with tracer.start_as_current_span("drains"):
        drain()
    (point,) = histogram().values()
    assert {each.span_id for each in point.exemplars} == {ended.span_id}


class Half(Sampler):
    """Samples by name."""

    def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
        sampled = name != "unsampled" and trace.get_current_span(
            parent_context
        ).get_span_context().span_id in (0,)
        return Result(Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP)

    def get_description(self):
        return "half"


def case_unsampled_entries_count_and_are_no_exemplars():
    from _tools import start_with

    tracer = start_with(TracerProvider(sampler=Half()), interval_seconds=3600)
    drain()
    for _ in range(10):
        request(tracer, "unsampled", 2 * MIB, inner=False)
    seen = [request(tracer, "sampled", 2 * MIB, inner=False) for _ in range(3)]
    drain()
    points = histogram()
    unsampled = points["unsampled", "SERVER"]
    assert unsampled.count == 10
    assert 1.99 * MIB < unsampled.min <= unsampled.max < 2.05 * MIB
    assert not unsampled.exemplars
    (exemplar,) = points["sampled", "SERVER"].exemplars
    assert exemplar.span_id in {context.span_id for context in seen}


def case_everything_unsampled():
    from _tools import start_with

    tracer = start_with(TracerProvider(sampler=ALWAYS_OFF), interval_seconds=3600)
    drain()
    with tracer.start_as_current_span("inside"):
        request(tracer, "nested", MIB)
    request(tracer, "GET /", MIB)
    drain()
    assert {key[0]: point.count for key, point in histogram().items()} == {
        "inside": 1,
        "GET /": 1,
    }


def case_a_name_matters_before_the_first_collection():
    tracer = begin(max_span_names=3)
    for i in range(100):
        request(tracer, f"GET /scan/{i}.php", 100, inner=False)
    for _ in range(100):
        request(tracer, "GET /matters", 100, inner=False)
    drain()
    points = histogram()
    counts = {key: point.count for key, point in points.items()}
    assert counts["GET /matters", "SERVER"] == 100
    assert counts[semconv.ROW_OTHER, semconv.NO_SPAN_KIND] >= 98
    assert sum(counts.values()) == 200
    assert len(counts) <= 4


def case_names_that_explode_are_one_series():
    tracer = begin()
    for i in range(2500):
        request(tracer, f"GET /scan/{i}.php", 100, inner=False)
        if i % 500 == 0:
            drain()
    drain()
    counts = {key: point.count for key, point in histogram().items()}
    assert len(counts) <= 201
    assert sum(counts.values()) == 2500 - metrics.current().source.entries_dropped()
    assert counts[semconv.ROW_OTHER, semconv.NO_SPAN_KIND] > 2000


def case_no_negative_value_reaches_the_sdk():
    begin()
    logged = Logged()
    metrics.record_entries([Entry("gave back", "SERVER", -5, 0, 0, 0)])
    (point,) = histogram().values()
    assert (point.count, point.min, point.max) == (1, 0, 0)
    assert logged.lines == []


def case_names_are_of_the_end():
    tracer = begin()
    with tracer.start_as_current_span("GET", kind=SpanKind.SERVER) as span:
        span.update_name("GET /items/{id}")
    drain()
    assert set(histogram()) == {("GET /items/{id}", "SERVER")}
    attributes_of("GET /items/{id}")


def count(reader=None):
    return sum(point.count for point in histogram(reader).values())


def case_nothing_is_recorded_after_stop():
    logged = Logged()
    tracer = begin()
    request(tracer, "GET /", MIB)
    source = metrics.current().source
    entries = source.take_entries()
    assert len(entries) == 1
    metrics.record_entries(entries)
    MemoryInstrumentor().uninstrument()
    metrics.record_entries(entries)
    assert count() == 1  # the SDK goes on showing it
    MemoryInstrumentor().instrument(interval_seconds=3600)
    drain()
    request(tracer, "GET /", MIB)
    drain()
    assert count() == 2
    # No second histogram of that name, and no word about it.
    assert len([name for names in scopes().values() for name in names]) == len(
        {name for names in scopes().values() for name in names}
    )
    assert logged.lines == []


def case_another_provider_after_uninstrument():
    tracer = begin()
    request(tracer, "GET /", MIB)
    drain()
    MemoryInstrumentor().uninstrument()
    reader = InMemoryMetricReader()
    MemoryInstrumentor().instrument(
        interval_seconds=3600, meter_provider=MeterProvider([reader])
    )
    drain()
    for _ in range(2):
        request(tracer, "GET /", MIB)
    drain()
    assert (count(), count(reader)) == (1, 2)


def case_a_provider_that_comes_late():
    """The histogram is a proxy until then; later records arrive."""
    trace.set_tracer_provider(TracerProvider())
    _guard.set_reraise(True)
    MemoryInstrumentor().instrument(interval_seconds=3600)
    drain()
    tracer = trace.get_tracer("isolated")
    request(tracer, "GET /early", MIB)
    drain()
    telemetry.reader = InMemoryMetricReader()
    api.set_meter_provider(MeterProvider([telemetry.reader]))
    request(tracer, "GET /late", MIB)
    drain()
    points = histogram()
    assert {key[0]: point.count for key, point in points.items()} == {"GET /late": 1}
    (point,) = points.values()
    assert point.explicit_bounds == semconv.ENTRY_PEAK.boundaries


def _child(tracer):
    assert count() == 0
    request(tracer, "GET /child", MIB)
    drain()
    assert {key[0]: p.count for key, p in histogram().items()} == {"GET /child": 1}


def case_a_forked_child_tells_only_of_its_own():
    tracer = begin()
    for _ in range(5):
        request(tracer, "GET /", MIB)
    drain()
    assert count() == 5
    fork_and_wait(_child, tracer)
    assert count() == 5


def case_a_proxys_histogram_is_a_childs_own_too():
    trace.set_tracer_provider(TracerProvider())
    _guard.set_reraise(True)
    MemoryInstrumentor().instrument(interval_seconds=3600)
    drain()
    telemetry.reader = InMemoryMetricReader()
    api.set_meter_provider(MeterProvider([telemetry.reader]))
    tracer = trace.get_tracer("isolated")
    request(tracer, "GET /", MIB)
    drain()
    assert count() == 1
    fork_and_wait(_child, tracer)


if __name__ == "__main__":
    run_case()
