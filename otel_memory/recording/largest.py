# SPDX-License-Identifier: Apache-2.0
"""Find the single spans with the largest peaks, in memory for `SPANS_MAX` of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from otel_memory import semconv
from otel_memory.recording.numbers import signed_size, size
from otel_memory.recording.otlp import RESOURCE_KEYS, Json, dicts, read_value

SPANS_MAX = 30

_FIGURES = {
    semconv.SPAN_HEAP_ALLOCATED: "allocated_bytes",
    semconv.SPAN_HEAP_DELTA: "delta_bytes",
    semconv.SPAN_HEAP_PEAK: "peak_bytes",
    semconv.SPAN_HEAP_SELF_ALLOCATED: "self_allocated_bytes",
}
# By OTLP's number, whose zero is "unspecified".
_KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True)
class LargeSpan:
    """One span and what was measured of it.

    Attributes:
        trace_id: In hexadecimal; empty where the recording does not say.
        span_id: Likewise.
        name: The span's name.
        kind: As in `SPAN_KINDS`, or empty.
        start_seconds: Since the epoch.
        duration_seconds: How long it took.
        allocated_bytes: Handed out during the span.
        delta_bytes: Handed out minus given back; signed.
        peak_bytes: The highest delta during the span.
        self_allocated_bytes: Handed out without its children.
        top_sites: The lines that took most, as texts.
    """

    trace_id: str
    span_id: str
    name: str
    kind: str
    start_seconds: float | None
    duration_seconds: float | None
    allocated_bytes: int | None
    delta_bytes: int | None
    peak_bytes: int | None
    self_allocated_bytes: int | None
    top_sites: tuple[str, ...]


class LargestSpans:
    """Takes the lines of a recording and keeps the largest spans."""

    def __init__(self) -> None:
        self._taken = 0
        # The smallest first; numbered, for spans themselves have no order.
        self._heap: list[tuple[int, int, LargeSpan]] = []

    def add(self, line: Json) -> None:
        """Take one line of OTLP JSON."""
        for span in _spans(line):
            figures = _figures(span)
            if not figures:
                continue
            # A span without a peak is smaller than any other.
            peak_bytes = figures.get("peak_bytes", -1)
            if len(self._heap) == SPANS_MAX and peak_bytes <= self._heap[0][0]:
                continue
            self._taken += 1
            heapq.heappush(
                self._heap, (peak_bytes, -self._taken, _read_span(span, figures))
            )
            if len(self._heap) > SPANS_MAX:
                heapq.heappop(self._heap)

    def spans(self) -> tuple[LargeSpan, ...]:
        """Give the largest so far, the largest first; of equals, the first."""
        return tuple(span for _, _, span in sorted(self._heap, reverse=True))


def _spans(line: Json) -> Iterator[Json]:
    for part in dicts(line, RESOURCE_KEYS["traces"]):
        for scope in dicts(part, "scopeSpans"):
            yield from dicts(scope, "spans")


def _figures(span: Json) -> dict[str, int]:
    """Read our attributes only: a recording may hold millions of others."""
    figures = {}
    for attribute in dicts(span, "attributes"):
        key = attribute.get("key")
        field = _FIGURES.get(key) if isinstance(key, str) else None
        if field:
            value = signed_size(read_value(attribute.get("value")))
            if value is not None:
                figures[field] = value
    return figures


def _read_span(span: Json, figures: dict[str, int]) -> LargeSpan:
    start = size(span.get("startTimeUnixNano"))
    end = size(span.get("endTimeUnixNano"))
    return LargeSpan(
        trace_id=str(span.get("traceId") or ""),
        span_id=str(span.get("spanId") or ""),
        name=str(span.get("name") or ""),
        kind=_read_kind(span.get("kind")),
        start_seconds=start / 1e9 if start else None,
        duration_seconds=_between_seconds(start, end),
        top_sites=_read_top_sites(span),
        **{field: figures.get(field) for field in _FIGURES.values()},
    )


def _between_seconds(start: int | None, end: int | None) -> float | None:
    # In whole nanoseconds: an epoch's float has no room for so small a difference.
    return (end - start) / 1e9 if start and end and end >= start else None


def _read_kind(kind: Any) -> str:
    number = size(kind) or 0
    return _KINDS[number] if number < len(_KINDS) else ""


def _read_top_sites(span: Json) -> tuple[str, ...]:
    for attribute in dicts(span, "attributes"):
        if attribute.get("key") == semconv.SPAN_HEAP_TOP_SITES:
            sites = read_value(attribute.get("value"))
            known = sites if isinstance(sites, list) else []
            return tuple(str(site) for site in known if site is not None)
    return ()
