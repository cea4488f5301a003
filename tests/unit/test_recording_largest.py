# SPDX-License-Identifier: Apache-2.0
"""The largest spans are found among any number, and read with care."""

from __future__ import annotations

import random

import pytest

from otel_memory import semconv
from otel_memory.recording.largest import SPANS_MAX, LargeSpan, LargestSpans
from otel_memory.recording.otlp import write_attributes

TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(attributes, **fields):
    return {
        "traceId": TRACE,
        "spanId": "b7ad6b7169203331",
        "name": "GET /recommend",
        "kind": 2,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000250000000",
        "attributes": write_attributes({"http.route": "/", **attributes}),
        **fields,
    }


def largest(*spans):
    found = LargestSpans()
    for each in spans:
        found.add({"resourceSpans": [{"scopeSpans": [{"spans": [each]}]}]})
    return found.spans()


def peak(peak_bytes, **fields):
    return span({semconv.SPAN_HEAP_PEAK: peak_bytes}, **fields)


def test_a_span_is_read():
    attributes = {
        semconv.SPAN_HEAP_ALLOCATED: 900,
        semconv.SPAN_HEAP_DELTA: -30,
        semconv.SPAN_HEAP_PEAK: 400,
        semconv.SPAN_HEAP_SELF_ALLOCATED: 0,
        semconv.SPAN_HEAP_TOP_SITES: ["shop/cache.py:41 fill 1.0 MiB", "b"],
    }
    assert largest(span(attributes)) == (
        LargeSpan(
            trace_id=TRACE,
            span_id="b7ad6b7169203331",
            name="GET /recommend",
            kind="SERVER",
            start_seconds=1.7e9,
            duration_seconds=0.25,
            allocated_bytes=900,
            delta_bytes=-30,
            peak_bytes=400,
            self_allocated_bytes=0,
            top_sites=("shop/cache.py:41 fill 1.0 MiB", "b"),
        ),
    )


def test_the_largest_are_kept_and_of_equals_the_first():
    sizes = list(range(1000))
    random.Random(7).shuffle(sizes)
    twins = [peak(5000, name="first"), peak(5000, name="second")]
    found = largest(*map(peak, sizes), *twins)
    assert len(found) == SPANS_MAX
    assert [each.peak_bytes for each in found] == [5000, 5000, *range(999, 971, -1)]
    assert [each.name for each in found[:2]] == ["first", "second"]


def test_a_full_heap_keeps_the_first_of_equals_too():
    found = largest(*(peak(7, name=str(number)) for number in range(100)))
    assert [each.name for each in found] == [str(number) for number in range(30)]


def test_spans_without_figures_of_the_heap_are_passed_over():
    assert largest(span({}), span({semconv.SPAN_RSS_DELTA: 10**9})) == ()


def test_a_span_without_a_peak_comes_last():
    found = largest(span({semconv.SPAN_HEAP_ALLOCATED: 10**9}), peak(0))
    assert [each.peak_bytes for each in found] == [0, None]


def test_what_is_missing_is_empty_or_unknown():
    (found,) = largest({"attributes": write_attributes({semconv.SPAN_HEAP_PEAK: 1})})
    assert found == LargeSpan("", "", "", "", None, None, None, None, 1, None, ())


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("kind", 99, "kind", ""),
        ("kind", -1, "kind", ""),
        ("kind", "SPAN_KIND_SERVER", "kind", ""),
        ("kind", 0, "kind", ""),
        ("endTimeUnixNano", "1", "duration_seconds", None),
        ("endTimeUnixNano", "soon", "duration_seconds", None),
        ("startTimeUnixNano", None, "start_seconds", None),
        ("startTimeUnixNano", "9" * 400, "start_seconds", None),
    ],
)
def test_a_malformed_field_is_unknown(field, value, attribute, expected):
    (found,) = largest(peak(1, **{field: value}))
    assert getattr(found, attribute) == expected


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"resourceSpans": [None, {"scopeSpans": [{"spans": [None, {}, 7]}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": "x"}]}]}]},
        {"resourceMetrics": []},
    ],
)
def test_a_broken_line_is_no_error(line):
    found = LargestSpans()
    found.add(line)
    assert found.spans() == ()


@pytest.mark.parametrize("value", [{"stringValue": "x"}, {"intValue": "x"}, 7, None])
def test_a_malformed_figure_is_no_figure(value):
    attribute = {"key": semconv.SPAN_HEAP_PEAK, "value": value}
    broken = {**span({}), "attributes": [attribute, {"key": ["unhashable"]}]}
    assert largest(broken) == ()


def test_sites_that_are_no_texts_are_left_out():
    attributes = {semconv.SPAN_HEAP_PEAK: 1, semconv.SPAN_HEAP_TOP_SITES: 7}
    (found,) = largest(span(attributes))
    assert found.top_sites == ()
