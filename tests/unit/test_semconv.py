# SPDX-License-Identifier: Apache-2.0
"""The table of names: complete, unambiguous, and right for OpenTelemetry."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import (
    cpython_attributes,
    system_attributes,
)
from opentelemetry.semconv._incubating.metrics import cpython_metrics, process_metrics

from otel_memory import semconv
from otel_memory.leaks import STATES
from otel_memory.semconv import (
    CONVENTION_METRICS,
    METRICS,
    SPAN_ATTRIBUTES,
    Kind,
    Metric,
    prometheus_name,
)

SPAN_ROWS = ("span.name", "span.kind", "otel_memory.entry", "otel_memory.sort")
SOURCE = (
    "otel_memory.heap.source",
    "otel_memory.heap.reason",
    "otel_memory.heap.native_covered",
)

COUNTER = "observable_counter"
UP_DOWN = "observable_up_down_counter"
GAUGE = "observable_gauge"
PRESSURE = ("otel_memory.pressure.scope",)
GENERATION = ("cpython.gc.generation",)

# Written out here on purpose: backends, rules and dashboards of users depend on it.
EXPECTED = {
    "otel_memory.process.rss": (UP_DOWN, "By", ()),
    "otel_memory.process.anonymous": (UP_DOWN, "By", ()),
    "otel_memory.process.peak": (GAUGE, "By", ()),
    "otel_memory.process.uptime": (GAUGE, "s", ()),
    "otel_memory.process.uss": (UP_DOWN, "By", ()),
    "otel_memory.process.pss": (UP_DOWN, "By", ()),
    "otel_memory.process.swap": (UP_DOWN, "By", ()),
    "otel_memory.limit": (UP_DOWN, "By", ()),
    "otel_memory.limit.usage": (UP_DOWN, "By", ()),
    "otel_memory.limit.events": (COUNTER, "{event}", ("otel_memory.limit.event",)),
    "otel_memory.oom.kills": (COUNTER, "{kill}", ()),
    "otel_memory.pressure.some.time": (COUNTER, "s", PRESSURE),
    "otel_memory.pressure.full.time": (COUNTER, "s", PRESSURE),
    "otel_memory.heap.usage": (UP_DOWN, "By", ()),
    "otel_memory.heap.source": (UP_DOWN, "{process}", SOURCE),
    "otel_memory.gc.pause.time": (COUNTER, "s", GENERATION),
    "otel_memory.gc.freed": (COUNTER, "By", GENERATION),
    "otel_memory.growth": (GAUGE, "By/h", ()),
    "otel_memory.leak.state": (GAUGE, "{state}", ()),
    "otel_memory.span.count": (COUNTER, "{span}", SPAN_ROWS),
    "otel_memory.span.heap.allocated": (COUNTER, "By", SPAN_ROWS),
    "otel_memory.span.heap.live": (UP_DOWN, "By", SPAN_ROWS),
    "otel_memory.span.heap.peak": (GAUGE, "By", SPAN_ROWS),
    "otel_memory.span.names": (UP_DOWN, "{name}", ()),
    "otel_memory.span.names.refused": (UP_DOWN, "{name}", ()),
    "otel_memory.entry.heap.peak": ("histogram", "By", ("span.name", "span.kind")),
    "otel_memory.entry.dropped": (COUNTER, "{span}", ()),
    "otel_memory.sampler.samples": (COUNTER, "{sample}", ()),
    "otel_memory.sampler.dropped": (COUNTER, "{sample}", ()),
    "otel_memory.sampler.table.usage": (UP_DOWN, "{sample}", ()),
    "otel_memory.sampler.memory": (UP_DOWN, "By", ()),
    "otel_memory.watcher.time": (COUNTER, "s", ()),
    "otel_memory.alerts": (COUNTER, "{alert}", ("otel_memory.alert.kind",)),
    "otel_memory.failures": (COUNTER, "{failure}", ()),
}
EXPECTED_CONVENTIONS = {
    "process.memory.usage": (UP_DOWN, "By", ()),
    "process.memory.virtual": (UP_DOWN, "By", ()),
    "process.paging.faults": (COUNTER, "{fault}", ("system.paging.fault.type",)),
    "process.uptime": (GAUGE, "s", ()),
    "cpython.gc.collections": (COUNTER, "{collection}", GENERATION),
    "cpython.gc.collected_objects": (COUNTER, "{object}", GENERATION),
    "cpython.gc.uncollectable_objects": (COUNTER, "{object}", GENERATION),
}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(METRICS, EXPECTED), (CONVENTION_METRICS, EXPECTED_CONVENTIONS)],
    ids=["ours", "conventions"],
)
def test_published_metrics_keep_their_kinds_units_and_attributes(
    rows: tuple[Metric, ...], expected: dict[str, tuple[object, ...]]
) -> None:
    found = {row.name: (row.kind.value, row.unit, row.attributes) for row in rows}
    assert found == expected


class _Meter:
    """Notes what the generated functions of the conventions create."""

    def __init__(self) -> None:
        self.created: dict[str, tuple[str, str, str]] = {}

    def __getattr__(self, method: str) -> object:
        def create(
            *, name: str, description: str, unit: str, callbacks: object = None
        ) -> None:
            kind = method.removeprefix("create_").removeprefix("observable_")
            self.created[name] = (kind, unit, description)

        return create


# Each constant's function has the name of the constant.
CONVENTIONS = {
    getattr(module, name): (module, name)
    for module in (process_metrics, cpython_metrics)
    for name in vars(module)
    if name.isupper() and isinstance(getattr(module, name), str)
}


@pytest.mark.parametrize("row", CONVENTION_METRICS, ids=lambda row: row.name)
def test_a_row_of_the_conventions_is_as_the_conventions_say(row: Metric) -> None:
    module, constant = CONVENTIONS[row.name]
    create = getattr(module, f"create_{constant.lower()}")
    meter = _Meter()
    observed = [[]] if "callbacks" in create.__code__.co_varnames else []
    create(meter, *observed)
    kind = row.kind.value.removeprefix("observable_")
    assert meter.created == {row.name: (kind, row.unit, row.description)}


def test_attributes_of_the_conventions_are_as_the_conventions_say() -> None:
    assert semconv.ATTR_GC_GENERATION == cpython_attributes.CPYTHON_GC_GENERATION
    # Renamed from system.paging.type in the conventions.
    names = {
        value for value in vars(system_attributes).values() if isinstance(value, str)
    }
    assert semconv.ATTR_PAGING_FAULT_TYPE in names


def test_every_metric_constant_is_in_the_table_once() -> None:
    constants = [row for row in vars(semconv).values() if isinstance(row, Metric)]
    rows = (*METRICS, *CONVENTION_METRICS)
    assert sorted(rows, key=id) == sorted(constants, key=id)
    assert len({row.name.lower() for row in rows}) == len(rows)


def test_the_states_are_those_of_the_verdict_the_worst_one_last() -> None:
    assert semconv.LEAK_STATES == STATES
    # Rules compare the metric's value with these numbers.
    assert semconv.LEAK_STATES == (
        "not-enough-data",
        "warming-up",
        "steady",
        "growing",
        "leaking",
    )


def test_span_attributes_are_those_of_the_design() -> None:
    assert {row.name: (row.type, row.unit) for row in SPAN_ATTRIBUTES} == {
        "otel_memory.heap.allocated": ("int", "By"),
        "otel_memory.heap.delta": ("int", "By"),
        "otel_memory.heap.peak": ("int", "By"),
        "otel_memory.heap.self.allocated": ("int", "By"),
        "otel_memory.rss.delta": ("int", "By"),
        "otel_memory.rss.exclusive": ("bool", ""),
        "otel_memory.heap.top_sites": ("string[]", ""),
    }


def test_every_span_attribute_constant_has_a_row() -> None:
    names = {
        value
        for constant, value in vars(semconv).items()
        if re.match("SPAN_(HEAP|RSS)_", constant)
    }
    assert names == {row.name for row in SPAN_ATTRIBUTES}


def test_no_gauge_has_unit_1() -> None:
    """Prometheus would know it under two names."""
    rows = (*METRICS, *CONVENTION_METRICS)
    assert not [row.name for row in rows if row.unit == "1"]


ALL_ROWS = pytest.mark.parametrize(
    "row", [*METRICS, *CONVENTION_METRICS], ids=lambda row: row.name
)


@ALL_ROWS
def test_no_name_holds_its_unit_or_what_prometheus_adds(row: Metric) -> None:
    tokens = set(re.findall("[a-z]+", row.name))
    assert not tokens & {"bytes", "seconds", "hour", "per", "total", "ratio"}
    assert row.unit in {"By", "By/h", "s"} or re.fullmatch(r"\{[a-z]+\}", row.unit)


@ALL_ROWS
def test_only_histograms_have_boundaries_and_they_rise(row: Metric) -> None:
    is_histogram = row.kind is Kind.HISTOGRAM
    assert bool(row.boundaries) == is_histogram
    assert sorted(set(row.boundaries)) == list(row.boundaries)
    if is_histogram:  # The SDK's own end at 10,000.
        assert (row.boundaries[0], row.boundaries[-1]) == (1024, 1024**3)


PROMETHEUS_NAMES = {
    semconv.PROCESS_RSS: "otel_memory_process_rss_bytes",
    semconv.PROCESS_UPTIME: "otel_memory_process_uptime_seconds",
    semconv.LIMIT: "otel_memory_limit_bytes",
    semconv.GC_PAUSE: "otel_memory_gc_pause_time_seconds_total",
    semconv.GC_FREED: "otel_memory_gc_freed_bytes_total",
    semconv.GROWTH: "otel_memory_growth_bytes_per_hour",
    semconv.LEAK_STATE: "otel_memory_leak_state",
    semconv.HEAP_SOURCE: "otel_memory_heap_source",
    semconv.SPAN_COUNT: "otel_memory_span_count_total",
    semconv.SPAN_NAMES: "otel_memory_span_names",
    semconv.ENTRY_PEAK: "otel_memory_entry_heap_peak_bytes",
    semconv.CONVENTION_USAGE: "process_memory_usage_bytes",
    semconv.CONVENTION_GC_COLLECTED: "cpython_gc_collected_objects_total",
}


@pytest.mark.parametrize("row", PROMETHEUS_NAMES, ids=lambda row: row.name)
def test_prometheus_names_follow_its_rules(row: Metric) -> None:
    assert prometheus_name(row) == PROMETHEUS_NAMES[row]


@pytest.mark.parametrize("unit", ["1", "%", "KiBy/s", ""])
def test_a_unit_of_which_nobody_knows_the_suffix_has_no_name(unit: str) -> None:
    metric = Metric("otel_memory.x", Kind.OBSERVABLE_GAUGE, unit, "X.")
    with pytest.raises(KeyError):
        prometheus_name(metric)


@pytest.mark.parametrize("row", [*METRICS, *SPAN_ATTRIBUTES], ids=lambda row: row.name)
def test_a_row_is_named_in_our_namespace_and_described(
    row: Metric | semconv.SpanAttribute,
) -> None:
    assert re.fullmatch(r"otel_memory(\.[a-z]+(_[a-z]+)*)+", row.name)
    assert row.description.endswith(".")
    assert "  " not in row.description


def test_kinds_complete_the_names_of_a_meters_methods() -> None:
    sources = Path(semconv.__file__).parent.glob("*.py")
    assert "opentelemetry" not in {
        name.split(".")[0]
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
    }
    assert {f"create_{kind.value}" for kind in Kind} == {
        "create_observable_counter",
        "create_observable_up_down_counter",
        "create_observable_gauge",
        "create_histogram",
    }


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        METRICS[0].unit = "1"  # type: ignore[misc]


def test_every_sort_is_a_row_with_a_fixed_name_or_named_by_a_span() -> None:
    by_span = {semconv.SORT_SPAN, semconv.SORT_AFTER_END}
    assert set(semconv.ROW_BY_SORT) | by_span == set(semconv.SORTS)
    assert not set(semconv.ROW_BY_SORT) & by_span
    assert semconv.ROW_BY_SORT == {
        "no-span": "(no span)",
        "telemetry": "(telemetry)",
        "import": "(import)",
        "gc": "(gc)",
        "other": "(other)",
    }


def test_after_end_rows_keep_the_name_of_their_span() -> None:
    assert semconv.after_end_row("GET /a") == "GET /a (after end)"
