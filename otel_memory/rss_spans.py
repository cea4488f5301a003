# SPDX-License-Identifier: Apache-2.0
"""Span attributes where there is no counting core: the process's RSS only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.trace import NonRecordingSpan

from otel_memory import _guard, semconv
from otel_memory.process import open_readings
from otel_memory.span_filter import SpanFilter

_STATE = "_otel_memory_rss"


class _Start(NamedTuple):
    rss_bytes: int
    is_entry: bool
    entries_started: int
    alone: bool


class Wrappers:
    """Wrappers of start_span and end, as wrapt calls them."""

    def __init__(self, span_filter: SpanFilter | None) -> None:
        self._filter = span_filter
        self._readings = open_readings()
        # Read and written under the GIL, one operation each; a race of two entries
        # can only make `exclusive` false.
        self._entries_started = 0
        self._entries_open = 0

    def _rss_bytes(self) -> int | None:
        resident = self._readings.resident()
        return None if resident is None else resident.rss_bytes

    def start_span(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Note the RSS at the span's start."""
        span = wrapped(*args, **kwargs)
        if not isinstance(span, NonRecordingSpan):
            with _guard.guard("rss_spans: start_span"):
                self._begin(span)
        return span

    def _begin(self, span: Any) -> None:
        rss_bytes = self._rss_bytes()
        if rss_bytes is None:
            return
        parent = span.parent
        is_entry = parent is None or parent.is_remote
        others_open = self._entries_open - (0 if is_entry else 1)
        if is_entry:
            self._entries_open += 1
            self._entries_started += 1
        start = _Start(rss_bytes, is_entry, self._entries_started, others_open <= 0)
        setattr(span, _STATE, start)

    def end(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Write the attributes, then end the span at the time it was asked to."""
        start: _Start | None = getattr(instance, _STATE, None)
        if start is None or not instance.is_recording():
            return wrapped(*args, **kwargs)
        if not args and kwargs.get("end_time") is None:
            kwargs = {**kwargs, "end_time": time.time_ns()}
        with _guard.guard("rss_spans: end"):
            self._write(instance, start)
        return wrapped(*args, **kwargs)

    def _write(self, span: Any, start: _Start) -> None:
        delattr(span, _STATE)
        exclusive = start.alone and self._entries_started == start.entries_started
        if start.is_entry:
            self._entries_open -= 1
        rss_bytes = self._rss_bytes()
        wanted = self._filter is None or self._filter.matches(span.name, span.kind.name)
        if rss_bytes is None or not wanted:
            return
        limit = getattr(span._attributes, "maxlen", None)
        for name, value in (
            (semconv.SPAN_RSS_DELTA, rss_bytes - start.rss_bytes),
            (semconv.SPAN_RSS_EXCLUSIVE, exclusive),
        ):
            # At the limit a new attribute would evict the user's oldest.
            if limit is None or len(span.attributes) < limit:
                span.set_attribute(name, value)
