# SPDX-License-Identifier: Apache-2.0
"""The table of names: complete, unambiguous, and right for OpenTelemetry."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from otel_memory import semconv
from otel_memory.semconv import METRICS, SPAN_ATTRIBUTES, Kind, Metric

SPAN_ROWS = ("span.name", "span.kind", "otel_memory.entry", "otel_memory.sort")
SOURCE = (
    "otel_memory.heap.source",
    "otel_memory.heap.reason",
    "otel_memory.heap.native_covered",
)

# Written out here on purpose: backends, rules and dashboards of users depend on it.
EXPECTED = {
    "otel_memory.process.rss": ("observable_up_down_counter", "By", ()),
    "otel_memory.process.anonymous": ("observable_up_down_counter", "By", ()),
    "otel_memory.process.peak": ("observable_gauge", "By", ()),
    "otel_memory.process.uptime": ("observable_gauge", "s", ()),
    "otel_memory.limit": ("observable_up_down_counter", "By", ()),
    "otel_memory.heap.usage": ("observable_up_down_counter", "By", ()),
    "otel_memory.heap.source": ("observable_up_down_counter", "{process}", SOURCE),
    "otel_memory.span.count": ("observable_counter", "{span}", SPAN_ROWS),
    "otel_memory.span.heap.allocated": ("observable_counter", "By", SPAN_ROWS),
    "otel_memory.span.heap.live": ("observable_up_down_counter", "By", SPAN_ROWS),
    "otel_memory.span.heap.peak": ("observable_gauge", "By", SPAN_ROWS),
    "otel_memory.sampler.samples": ("observable_counter", "{sample}", ()),
    "otel_memory.sampler.dropped": ("observable_counter", "{sample}", ()),
    "otel_memory.sampler.table.usage": (
        "observable_up_down_counter",
        "{sample}",
        (),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_metric_keeps_its_kind_unit_and_attributes(name: str) -> None:
    (metric,) = [metric for metric in METRICS if metric.name == name]
    assert (metric.kind.value, metric.unit, metric.attributes) == EXPECTED[name]


def test_every_metric_constant_is_in_the_table_once() -> None:
    constants = [row for row in vars(semconv).values() if isinstance(row, Metric)]
    assert sorted(METRICS, key=id) == sorted(constants, key=id)
    assert len({metric.name for metric in METRICS}) == len(METRICS)


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
    assert not [row.name for row in METRICS if row.unit == "1"]


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
