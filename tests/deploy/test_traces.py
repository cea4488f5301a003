# SPDX-License-Identifier: Apache-2.0
"""What a trace store has of the spans: Jaeger, in the place of Tempo."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy import names
from otel_memory import semconv

from . import servers
from .pipeline import SHOP_JOB, Pipeline

pytestmark = [pytest.mark.extension, pytest.mark.stack]

# What Jaeger calls the types of attributes; a list it keeps as JSON.
TYPES = {"int": ("int64", int), "bool": ("bool", bool), "string[]": ("string", str)}
SEARCHES = ("shop", "search_products")


def searches(stack: Pipeline) -> list[servers.Span]:
    """The spans of searches that the trace store has."""
    return stack.server.until(
        lambda: [s for s in stack.jaeger.find(*SEARCHES) if s.name == SEARCHES[1]],
        "searches are kept",
    )


def test_a_trace_is_found_by_what_a_span_took(stack, shop):
    span = searches(stack)[0]
    took = span.tags[semconv.SPAN_HEAP_DELTA]
    found = stack.jaeger.find("shop", **{semconv.SPAN_HEAP_DELTA: str(took.value)})
    assert span in found
    by_trace: dict[str, list[servers.Tag | None]] = {}
    for each in found:
        kept = by_trace.setdefault(each.trace_id, [])
        kept.append(each.tags.get(semconv.SPAN_HEAP_DELTA))
    assert all(took in tags for tags in by_trace.values())
    everything = {each.trace_id for each in stack.jaeger.find("shop")}
    assert by_trace.keys() < everything
    nothing = str(1 << 62)
    assert stack.jaeger.find("shop", **{semconv.SPAN_HEAP_DELTA: nothing}) == []


def test_spans_carry_what_they_took(stack, shop):
    spans = searches(stack)
    for span in spans:
        assert span.tags[semconv.SPAN_HEAP_ALLOCATED].value > 8 << 20
    # Not on each of them: a span may have been passed over by the sampler.
    tags = [s.tags.get(semconv.SPAN_HEAP_TOP_SITES) for s in spans]
    sites = [site for tag in tags if tag for site in json.loads(tag.value)]
    assert any("reports.py" in site for site in sites)


@pytest.mark.parametrize("attribute", semconv.SPAN_ATTRIBUTES, ids=lambda a: a.name)
def test_attributes_keep_their_types_on_the_way(stack, shop, attribute):
    found = stack.jaeger.find("shop")
    tags = [span.tags[attribute.name] for span in found if attribute.name in span.tags]
    assert tags
    for tag in tags:
        assert (tag.type, type(tag.value)) == TYPES[attribute.type]


def test_an_exemplar_leads_to_its_trace(stack, shop):
    series = names.series(semconv.ENTRY_PEAK, "_bucket")

    def exemplars() -> list[dict[str, Any]]:
        answer = stack.prometheus.get(
            "/api/v1/query_exemplars",
            query=f'{series}{{job="{SHOP_JOB}"}}',
            start="0",
            end="9999999999",
        )
        return [e for each in answer["data"] for e in each["exemplars"]]

    for each in stack.server.until(exemplars, "exemplars are kept"):
        trace = each["labels"]["trace_id"]
        stack.server.until(
            lambda trace=trace: stack.jaeger.trace(trace), f"trace {trace} is kept"
        )
