# SPDX-License-Identifier: Apache-2.0
"""The attributes that are written to spans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpanAttribute:
    """One attribute that is written to spans.

    Attributes:
        name: The attribute's name.
        type: Its type in OpenTelemetry's words: `int`, `bool` or `string[]`.
        unit: UCUM unit, or "" where there is none.
        description: One sentence for the documentation.
    """

    name: str
    type: str
    unit: str
    description: str


SPAN_HEAP_ALLOCATED = "otel_memory.heap.allocated"
SPAN_HEAP_DELTA = "otel_memory.heap.delta"
SPAN_HEAP_PEAK = "otel_memory.heap.peak"
SPAN_HEAP_SELF_ALLOCATED = "otel_memory.heap.self.allocated"
SPAN_RSS_DELTA = "otel_memory.rss.delta"
SPAN_RSS_EXCLUSIVE = "otel_memory.rss.exclusive"
SPAN_HEAP_TOP_SITES = "otel_memory.heap.top_sites"

SPAN_ATTRIBUTES = (
    SpanAttribute(
        SPAN_HEAP_ALLOCATED,
        "int",
        "By",
        "Bytes handed out while the span or its descendants were current.",
    ),
    SpanAttribute(
        SPAN_HEAP_DELTA,
        "int",
        "By",
        "Bytes handed out minus bytes given back meanwhile, whoever had allocated "
        "them. Signed; does not add up to retention.",
    ),
    SpanAttribute(
        SPAN_HEAP_PEAK,
        "int",
        "By",
        "The highest delta reached during the span; an upper bound where child "
        "spans overlap.",
    ),
    SpanAttribute(
        SPAN_HEAP_SELF_ALLOCATED,
        "int",
        "By",
        "Bytes handed out while this span itself was current, without its children.",
    ),
    SpanAttribute(
        SPAN_RSS_DELTA,
        "int",
        "By",
        "Growth of the whole process's resident set size during the span.",
    ),
    SpanAttribute(
        SPAN_RSS_EXCLUSIVE,
        "bool",
        "",
        "True when no other entry span overlapped, so that the RSS delta is this "
        "span's own.",
    ),
    SpanAttribute(
        SPAN_HEAP_TOP_SITES,
        "string[]",
        "",
        "The source lines that allocated most, at most five, as `shop/cache.py:41 "
        "get_product_list 118.9 MiB`; on spans that allocated 8 MiB or another "
        "threshold.",
    ),
)
