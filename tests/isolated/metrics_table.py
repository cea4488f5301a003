# SPDX-License-Identifier: Apache-2.0
"""The instruments are those of the table, no more and no less."""

from __future__ import annotations

import logging

from _metrics import (
    ASSESSMENT,
    CONVENTIONS,
    TABLE,
    collected,
    know_everything,
    scopes,
    start_with_spans,
)
from _tools import MIB, Logged, metric_points, run_case, start, telemetry
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum

from otel_memory import _guard, metrics, semconv
from otel_memory.semconv import Kind

DATA = {
    Kind.OBSERVABLE_COUNTER: lambda data: isinstance(data, Sum) and data.is_monotonic,
    Kind.OBSERVABLE_UP_DOWN_COUNTER: lambda data: (
        isinstance(data, Sum) and not data.is_monotonic
    ),
    Kind.OBSERVABLE_GAUGE: lambda data: isinstance(data, Gauge),
    Kind.HISTOGRAM: lambda data: isinstance(data, Histogram),
}
ATTRIBUTE_TYPES = {  # else str
    semconv.ATTR_HEAP_NATIVE_COVERED: bool,
    semconv.ATTR_GC_GENERATION: int,
}
BLOCK_BYTES = 8 * MIB  # so large that the sampler takes each
FRACTIONS = {"s", "By/h"}
# What this machine, or this process, may not have.
MAY_BE_ABSENT = {
    semconv.LIMIT.name,
    semconv.LIMIT_USAGE.name,
    semconv.LIMIT_EVENTS.name,
    semconv.OOM_KILLS.name,
    semconv.PRESSURE_SOME.name,
    semconv.PRESSURE_FULL.name,
}
ON_REQUEST = {
    semconv.PROCESS_USS.name,
    semconv.PROCESS_PSS.name,
    semconv.PROCESS_SWAP.name,
}


def assert_as_in_the_table(row, shown):
    assert shown.unit == row.unit, row.name
    assert shown.description == row.description, row.name
    assert DATA[row.kind](shown.data), (row.name, shown.data)
    assert shown.data.data_points, row.name
    for point in shown.data.data_points:
        assert set(point.attributes) == set(row.attributes), row.name
        for name, value in point.attributes.items():
            assert type(value) is ATTRIBUTE_TYPES.get(name, str), (name, value)
        if row.kind is Kind.HISTOGRAM:
            assert point.explicit_bounds == row.boundaries, row.name
            assert point.count, row.name
        else:
            number = float if row.unit in FRACTIONS else int
            assert type(point.value) is number, (row.name, point.value)
            assert point.value >= 0, (row.name, point.value)


def case_every_metric_arrives_as_the_table_says():
    logged = Logged()
    start_with_spans()
    know_everything()
    found = collected()
    assert logged.lines == []
    assert set(scopes()) == {semconv.SCOPE_NAME}
    rows = {**TABLE, **CONVENTIONS}
    assert set(found) == set(rows), set(found) ^ set(rows)
    for name, row in rows.items():
        assert_as_in_the_table(row, found[name])


def case_what_this_machine_has_arrives_as_the_table_says():
    start_with_spans()
    found = collected()
    rows = {**TABLE, **CONVENTIONS}
    assert set(found) <= set(rows)
    absent = MAY_BE_ABSENT | ON_REQUEST | {semconv.GROWTH.name}
    assert set(rows) - set(found) <= absent, set(rows) - set(found)
    assert not set(found) & (ON_REQUEST | {semconv.GROWTH.name})
    for name, shown in found.items():
        assert_as_in_the_table(rows[name], shown)


def values(name):
    """Collect once: {attribute values: value} of one metric."""
    points = metric_points().get(name, [])
    return {tuple(attributes.values()): value for value, attributes in points}


def case_recorded_values_are_shown_as_they_are():
    start_with_spans()
    know_everything()
    points = metric_points()
    single = {name: of_metric[0][0] for name, of_metric in points.items()}
    readings = metrics.current().readings
    assert single["otel_memory.process.rss"] == 125829120
    assert single["process.memory.usage"] == 125829120
    assert single["process.memory.virtual"] == 335544320
    assert single["otel_memory.process.uss"] == 108003328
    assert single["otel_memory.process.pss"] == 112721920
    assert single["otel_memory.process.swap"] == 5242880
    assert single["otel_memory.limit"] == 512 * MIB
    assert single["otel_memory.limit.usage"] == readings.limit_usage_bytes()
    assert values("otel_memory.limit.events") == {
        ("high",): 2,
        ("max",): 40,
        ("oom",): 1,
    }
    assert values("otel_memory.oom.kills") == {(): 1}
    assert values("otel_memory.pressure.some.time") == {("cgroup",): 0.64}
    assert values("otel_memory.pressure.full.time") == {("cgroup",): 0.32}
    assert values("process.paging.faults") == {("minor",): 2981, ("major",): 11}
    assert single["otel_memory.growth"] == ASSESSMENT.growth_bytes_per_hour
    assert single["otel_memory.leak.state"] == 4
    assert values("otel_memory.alerts") == dict.fromkeys(
        [("warning",), ("critical",), ("growth",), ("leak",)], 0
    )


def case_a_configured_limit_is_compared_with_the_process():
    start_with_spans(limit_bytes="300MiB")
    know_everything()
    assert values("otel_memory.limit") == {(): 300 * MIB}
    assert values("otel_memory.limit.usage") == {(): 125829120}


def case_without_a_limit_nothing_is_compared_with_it():
    start()
    # A recorded process that no container holds.
    from _metrics import FIXTURES

    from otel_memory.process import open_readings

    metrics.current().readings = open_readings(str(FIXTURES / "proc/worker"))
    points = metric_points()
    for row in (semconv.LIMIT, semconv.LIMIT_USAGE, semconv.LIMIT_EVENTS):
        assert row.name not in points
    assert semconv.OOM_KILLS.name not in points
    assert values("otel_memory.pressure.some.time") == {("machine",): 1.234567}


def case_a_verdict_shows_from_the_start_and_growth_with_its_figure():
    from dataclasses import replace

    start(heap="off")
    findings = metrics.current().findings
    assert values("otel_memory.leak.state") == {(): 0}
    assert values("otel_memory.growth") == {}
    for index, state in enumerate(semconv.LEAK_STATES):
        findings.assessment = replace(
            ASSESSMENT, state=state, growth_bytes_per_hour=None
        )
        assert values("otel_memory.leak.state") == {(): index}
        assert values("otel_memory.growth") == {}
    findings.assessment = replace(ASSESSMENT, growth_bytes_per_hour=-2.5 * MIB)
    assert values("otel_memory.growth") == {(): -2.5 * MIB}


def case_failures_and_alerts_are_counted():
    start(heap="off")
    _guard.set_reraise(False)
    assert values("otel_memory.failures") == {(): 0}
    findings = metrics.current().findings
    findings.alerts["leak"] += 2
    findings.count_watcher(1000.0)
    assert values("otel_memory.alerts")["leak",] == 2
    assert 1000 <= values("otel_memory.watcher.time")[()] < 1100
    # A reading that fails: it is missing, the others are there, and it counts, each
    # time, though it is logged but once.
    logging.getLogger("otel_memory").disabled = True
    type(findings).alerts = {}
    points = metric_points()
    assert "otel_memory.alerts" not in points
    assert points["otel_memory.failures"] == [(1, {})]
    assert values("otel_memory.failures") == {(): 2}


def case_pauses_and_what_the_collector_freed():
    import gc

    tracer = start()
    gc.disable()

    def pauses():
        points = metric_points()
        return tuple(
            {a[semconv.ATTR_GC_GENERATION]: value for value, a in points[name]}
            for name in (
                "cpython.gc.collections",
                "otel_memory.gc.pause.time",
                "otel_memory.gc.freed",
            )
        )

    class Cycle:
        def __init__(self):
            self.itself = self
            self.block = bytes(MIB)

    counts, seconds, freed = pauses()
    assert set(counts) == set(seconds) == set(freed) == {0, 1, 2}
    with tracer.start_as_current_span("garbage"):
        for _ in range(8):
            Cycle()
        gc.collect()
    counts_after, seconds_after, freed_after = pauses()
    assert counts_after[2] == counts[2] + 1
    assert counts_after[0] == counts[0]
    assert seconds_after[2] > seconds[2]
    assert 8 * MIB <= freed_after[2] - freed[2] < 8.5 * MIB


def case_names_and_refused_names_are_counted():
    tracer = start(max_span_names=3)
    for _ in range(30):
        for name in "abcdefgh":
            with tracer.start_as_current_span(name):
                pass
    metric_points()
    assert values("otel_memory.span.names") == {(): 3}
    assert values("otel_memory.span.names.refused") == {(): 5}


def rows_of_all_sorts(tracer):
    """Bear something in a row of each sort; give what keeps it alive."""
    import contextvars
    import gc
    import sys
    import tempfile
    from pathlib import Path

    kept = [bytearray(BLOCK_BYTES)]
    with tracer.start_as_current_span("counted"):
        kept.append(bytearray(BLOCK_BYTES))
        outlives = contextvars.copy_context()
    outlives.run(lambda: kept.append(bytearray(BLOCK_BYTES)))
    for number in range(30):  # only the first ones find room
        tracer.start_span(f"crowd {number % 3}").end()

    class KeepsWhenFreed:
        def __init__(self):
            self.itself = self

        def __del__(self):
            kept.append(bytearray(BLOCK_BYTES))

    KeepsWhenFreed()
    gc.collect()
    folder = tempfile.mkdtemp()
    Path(folder, "heavy.py").write_text(f"kept = bytearray({BLOCK_BYTES})\n")
    sys.path.insert(0, folder)
    import heavy

    kept.append(heavy.kept)
    return kept


def case_what_a_row_does_not_measure_is_left_out():
    tracer = start(max_span_names=2)
    kept = rows_of_all_sorts(tracer)
    telemetry.reader.get_metrics_data()  # (telemetry) has something now
    points = metric_points()

    def of(figure):
        found = points[f"otel_memory.span.{figure}"]
        return {attributes[semconv.ATTR_SORT]: value for value, attributes in found}

    spans_alone = {semconv.SORT_SPAN, semconv.SORT_OTHER}
    assert set(of("count")) == spans_alone
    assert set(of("heap.peak")) == spans_alone
    assert set(of("heap.allocated")) == set(semconv.SORTS) - {semconv.SORT_IMPORT}
    live = of("heap.live")
    assert set(live) == set(semconv.SORTS)
    # What finalizers of a full collection keep, too, is there and is born there.
    for sort in (semconv.SORT_GC, semconv.SORT_AFTER_END, semconv.SORT_IMPORT):
        assert live[sort] >= BLOCK_BYTES, live
    del kept


def case_what_the_sampler_takes_is_shown():
    tracer = start()
    with tracer.start_as_current_span("holder"):
        kept = [bytearray(4096) for _ in range(20_000)]
    health = metrics.current().source.health()
    assert 0 < health.memory_bytes <= health.memory_bound_bytes
    shown = values("otel_memory.sampler.memory")[()]
    assert abs(shown - health.memory_bytes) < MIB
    del kept


def case_inner_spans_that_are_left_before_their_locals_hold_nothing():
    """A figure by span name that grew here would be a sum of deltas."""
    tracer = start()

    def rows_of_a_query():
        with tracer.start_as_current_span("query"):
            # bytearrays of 1 kB: 5 MB that the collector has no part in.
            rows = [bytearray(1000) for _ in range(5000)]
        return len(rows)

    def report():
        with tracer.start_as_current_span("GET /report"):
            return rows_of_a_query()

    def by_name():
        names = ("span.heap.live", "span.heap.peak")
        points = metric_points()
        return {
            (name, attributes[semconv.ATTR_SPAN_NAME]): value
            for name in names
            for value, attributes in points[f"otel_memory.{name}"]
        }

    for _ in range(5):
        report()
    before = by_name()
    for _ in range(200):
        report()
    after = by_name()
    deltas = [
        dict(span.attributes)["otel_memory.heap.delta"]
        for span in telemetry.exporter.get_finished_spans()
        if span.name == "query"
    ]
    # It is such a case: each inner span gained 5 MB, a gigabyte all in all.
    assert len(deltas) == 205
    assert min(deltas) > 4.5 * MIB
    for span in ("query", "GET /report"):
        live = after["span.heap.live", span]
        assert live < MIB, (span, live)
        grown = after["span.heap.peak", span] - before["span.heap.peak", span]
        assert abs(grown) < 0.5 * MIB, (span, grown)


if __name__ == "__main__":
    run_case()
