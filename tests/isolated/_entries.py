# SPDX-License-Identifier: Apache-2.0
"""A heap source and the wrappers, without an instrumentor, whose watcher would take
the entries away."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from otel_memory import _guard, spans
from otel_memory.heap import open_source


def start(name="native", *, sampler=None, span_filter=None):
    """Open a source of this name and wrap spans; a tracer and the source."""
    _guard.set_reraise(True)  # what would only be logged shall fail here
    source = open_source(name)
    assert source.name == name, source.reason
    spans.install(native=name == "native", span_filter=span_filter)
    return TracerProvider(sampler=sampler).get_tracer("isolated"), source


def remote_context(trace_id, span_id):
    """A context that came with a request."""
    parent = SpanContext(trace_id, span_id, True, TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent))
