# SPDX-License-Identifier: Apache-2.0
"""The histogram of single entry spans' peaks, whose exemplars lead to the trace.

It is recorded by the watcher's thread, and never where a span ends: a generator that
the collector closes amid a collection of metrics ends its span there, and would wait
for a lock that its own thread holds.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from otel_memory import semconv
from otel_memory.heap import Entry

# Given, or else the current one is taken.
_NO_SPAN = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OTHER = (semconv.ROW_OTHER, semconv.NO_SPAN_KIND)


def create(meter: Meter) -> Histogram:
    """Create the histogram, with buckets for bytes."""
    metric = semconv.ENTRY_PEAK
    return meter.create_histogram(
        metric.name,
        unit=metric.unit,
        description=metric.description,
        explicit_bucket_boundaries_advisory=list(metric.boundaries),
    )


def record(
    histogram: Histogram, entries: Collection[Entry], admitted: set[str]
) -> None:
    """Record entry spans, each under its own name or that of the others."""
    attributes = {
        pair: {semconv.ATTR_SPAN_NAME: pair[0], semconv.ATTR_SPAN_KIND: pair[1]}
        for pair in (_OTHER, *{(e.name, e.kind) for e in entries if e.name in admitted})
    }
    for entry in entries:
        shown = (entry.name, entry.kind) if entry.name in admitted else _OTHER
        # A span that only gave back has no peak, and the SDK takes nothing below 0.
        peak_bytes = max(entry.peak_bytes, 0)
        histogram.record(peak_bytes, attributes[shown], context=_context(entry))


def _context(entry: Entry) -> Context:
    if not (entry.trace_id and entry.trace_flags & TraceFlags.SAMPLED):
        return _NO_SPAN
    ended = SpanContext(entry.trace_id, entry.span_id, False, _SAMPLED)
    return set_span_in_context(NonRecordingSpan(ended), _NO_SPAN)


def forget(histogram: Histogram) -> None:
    """In a forked child: what the parent recorded is the parent's to tell.

    The SDK keeps what was recorded over a fork, and perhaps a lock that a thread of
    the parent's held. Where it is not found, for the SDK is another one, it stays, as
    it does in everybody's histograms.
    """
    real = getattr(histogram, "_real_instrument", None) or histogram
    consumer = getattr(real, "_measurement_consumer", None)
    storages: dict[Any, Any] = getattr(consumer, "_reader_storages", {})
    for storage in storages.values():
        matches = getattr(storage, "_instrument_view_instrument_matches", {})
        # Emptied, and not taken out: the way back in goes by a lock of the reader's.
        for match in matches.get(real, ()):
            if hasattr(match, "_attributes_aggregation") and hasattr(match, "_lock"):
                match._attributes_aggregation, match._lock = {}, threading.Lock()
