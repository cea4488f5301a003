# SPDX-License-Identifier: Apache-2.0
"""Rows by span name: their figures, their number, and what is not known of them."""

from __future__ import annotations

import threading

from _tools import MIB, metric_points, run_case, start, telemetry
from opentelemetry import metrics
from opentelemetry.trace import SpanKind

from otel_memory import semconv

ROWS = (
    semconv.SPAN_COUNT,
    semconv.SPAN_ALLOCATED,
    semconv.SPAN_LIVE,
    semconv.SPAN_PEAK,
)


def collected():
    """Collect once: {scope name: {metric name: metric}}; no name twice in a scope."""
    scopes: dict[str, dict[str, object]] = {}
    for resource in telemetry.reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            found = scopes.setdefault(scope.scope.name, {})
            for metric in scope.metrics:
                assert metric.name not in found, metric.name
                found[metric.name] = metric
    return scopes


def series():
    """Collect once: {metric name: {attributes: value}} of the rows' instruments."""
    return {
        name: {tuple(sorted(a.items())): value for value, a in points}
        for name, points in metric_points().items()
        if name in {metric.name for metric in ROWS}
    }


def of_sort(rows, sort):
    return {key: v for key, v in rows.items() if (semconv.ATTR_SORT, sort) in key}


def names_of(rows, sort=semconv.SORT_SPAN):
    return {dict(key)[semconv.ATTR_SPAN_NAME] for key in of_sort(rows, sort)}


def case_values_make_sense():
    tracer = start(limit_bytes="64MiB")
    kept = []
    for _ in range(3):
        with tracer.start_as_current_span("POST /basket", kind=SpanKind.SERVER):
            kept.append(bytearray(16 * MIB))
            bytearray(8 * MIB)
    points = metric_points()
    ours = {
        name: value
        for name, of_metric in points.items()
        for value, attributes in of_metric
        if attributes.get(semconv.ATTR_SPAN_NAME) == "POST /basket"
    }
    row = {
        semconv.ATTR_SPAN_NAME: "POST /basket",
        semconv.ATTR_SPAN_KIND: "SERVER",
        semconv.ATTR_ENTRY: "POST /basket",
        semconv.ATTR_SORT: "span",
    }
    assert (3, row) in points["otel_memory.span.count"]
    assert 72 * MIB <= ours["otel_memory.span.heap.allocated"] < 72.5 * MIB
    assert 24 * MIB <= ours["otel_memory.span.heap.peak"] < 24.5 * MIB
    assert 47 * MIB < ours["otel_memory.span.heap.live"] < 50 * MIB
    single = {name: of_metric[0][0] for name, of_metric in points.items()}
    assert single["otel_memory.limit"] == 64 * MIB
    assert single["otel_memory.heap.usage"] >= 48 * MIB
    assert single["otel_memory.process.rss"] >= 48 * MIB
    assert single["otel_memory.process.peak"] >= single["otel_memory.process.rss"]
    assert single["otel_memory.process.anonymous"] <= single["otel_memory.process.rss"]
    assert 0 < single["otel_memory.process.uptime"] < 100
    source = {
        semconv.ATTR_HEAP_SOURCE: "native",
        semconv.ATTR_HEAP_REASON: "",
        semconv.ATTR_HEAP_NATIVE_COVERED: False,
    }
    assert points["otel_memory.heap.source"] == [(1, source)]
    kept.clear()
    after = {
        attributes[semconv.ATTR_SPAN_NAME]: value
        for value, attributes in metric_points()["otel_memory.span.heap.live"]
    }
    assert after["POST /basket"] < 2 * MIB


def case_names_that_explode_stay_few_series():
    tracer = start()
    before: dict = {}

    def collect():
        nonlocal before
        now = series()
        for name in ("otel_memory.span.count", "otel_memory.span.heap.allocated"):
            for key, value in before.get(name, {}).items():
                assert now[name].get(key, -1) >= value, (name, key, value)
        before = now
        return now

    def visit(url):
        with (
            tracer.start_as_current_span(url, kind=SpanKind.SERVER),
            tracer.start_as_current_span("endpoint"),
        ):
            return bytearray(2000)

    for i in range(5000):
        visit(f"GET /scan/{i}.php")
        if i % 500 == 0:
            collect()
    now = collect()
    for name, of_metric in now.items():
        assert len(names_of(of_metric)) <= 200, name
        assert len(of_metric) <= 450, (name, len(of_metric))
        (other,) = names_of(of_metric, semconv.SORT_OTHER)
        assert other == semconv.ROW_OTHER
    counts = now["otel_memory.span.count"]
    assert sum(counts.values()) == 10_000
    kept = []
    with tracer.start_as_current_span("GET /matters", kind=SpanKind.SERVER):
        kept.append(bytearray(20 * MIB))
    now = collect()
    for name, of_metric in now.items():
        assert "GET /matters" in names_of(of_metric), name
    assert sum(now["otel_memory.span.count"].values()) == 10_001
    # What was (other) and comes to matter takes nothing from (other).
    for _ in range(300):
        visit("GET /scan/4321.php")
    now = collect()
    assert "GET /scan/4321.php" in names_of(now["otel_memory.span.count"])
    assert sum(now["otel_memory.span.count"].values()) == 10_601
    for _ in range(3):
        assert series()["otel_memory.span.count"] == now["otel_memory.span.count"]


def case_max_span_names_is_obeyed():
    tracer = start(max_span_names=3)
    for _ in range(30):
        for name in "abcdefgh":
            with tracer.start_as_current_span(name):
                pass
    for _ in range(3):
        counts = series()["otel_memory.span.count"]
        assert len(names_of(counts)) == 3
        assert sum(counts.values()) == 240


def case_two_readers_at_once_see_the_same():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    tracer = start(meter_provider=MeterProvider(readers))
    ended = threading.Event()
    errors = []

    def collect(reader):
        telemetry_before = -1
        while not ended.is_set():
            data = reader.get_metrics_data()
            for scope in data.resource_metrics[0].scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "otel_memory.span.count":
                        total = sum(p.value for p in metric.data.data_points)
                        if total < telemetry_before:
                            errors.append((telemetry_before, total))
                        telemetry_before = total

    threads = [threading.Thread(target=collect, args=(r,)) for r in readers]
    for thread in threads:
        thread.start()
    for i in range(6000):
        with tracer.start_as_current_span(f"span {i % 1500}"):
            pass
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == []


def case_a_limit_that_is_not_there_has_no_series():
    start()
    from otel_memory.process import open_readings

    known = open_readings().limit_bytes()
    points = metric_points().get("otel_memory.limit", [])
    assert [value for value, _ in points] == ([] if known is None else [known])


def case_off_shows_what_can_be_known():
    tracer = start(heap="off")
    with tracer.start_as_current_span("x"):
        pass
    (found,) = collected().values()
    assert set(found) >= {
        "otel_memory.process.rss",
        "otel_memory.process.anonymous",
        "otel_memory.process.peak",
        "otel_memory.process.uptime",
        "otel_memory.heap.source",
    }
    assert not [name for name in found if ".span." in name or ".sampler." in name]
    assert "otel_memory.heap.usage" not in found
    (point,) = found["otel_memory.heap.source"].data.data_points
    assert point.attributes[semconv.ATTR_HEAP_SOURCE] == "off"
    (span,) = telemetry.exporter.get_finished_spans()
    assert set(span.attributes) == {
        "otel_memory.rss.delta",
        "otel_memory.rss.exclusive",
    }


def case_without_sampling_live_heap_is_unknown():
    tracer = start(sampling=False)
    with tracer.start_as_current_span("x"):
        block = bytearray(8 * MIB)
    del block
    points = metric_points()
    assert not [name for name in points if ".sampler." in name]
    # What is not measured is absent, not 0.
    assert "otel_memory.span.heap.live" not in points
    assert "otel_memory.span.heap.allocated" in points


def case_collecting_survives_a_collection_that_ends_spans():
    """A span that the collector ends within a collection takes no lock twice."""
    import gc

    tracer = start()

    class Cycle:
        def __init__(self):
            self.self = self
            self.span = tracer.start_span("ended by the collector")

        def __del__(self):
            self.span.end()

    meter = metrics.get_meter("gc")

    def observe(options):
        for _ in range(50):
            Cycle()
        gc.collect()
        return [metrics.Observation(1)]

    meter.create_observable_gauge("collects", callbacks=[observe])
    for _ in range(3):
        metric_points()
    counts = {a["span.name"]: v for v, a in metric_points()["otel_memory.span.count"]}
    assert counts["ended by the collector"] >= 150


if __name__ == "__main__":
    run_case()
