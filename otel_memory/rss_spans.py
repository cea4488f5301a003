# SPDX-License-Identifier: Apache-2.0
"""Span attributes where there is no counting core: the process's RSS only.

And how many spans have ended, recorded or not: what traffic there is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import NonRecordingSpan, get_current_span

from otel_memory import _guard, semconv
from otel_memory.process import open_readings
from otel_memory.span_filter import SpanFilter

_STATE = "_otel_memory_rss"
_UNSAMPLED = "_otel_memory_unsampled"

# No lock on a span's path: the GIL is not handed on between reading and writing.
_completed = 0
_watches_forks = False


def completed_count() -> int:
    """Spans that have ended in this process since they were first wrapped."""
    return _completed


def _count() -> None:
    global _completed
    _completed += 1


class _Entries:
    """Entry spans of one process: plain numbers.

    Read and written under the GIL, one operation each; a race of two entries can only
    make `exclusive` false.
    """

    __slots__ = ("open", "started")

    def __init__(self) -> None:
        self.open = self.started = 0


# Begun anew by each `Wrappers` and in each process: what was open before then may
# never be seen to end.
_entries = _Entries()


def _begin_entries() -> None:
    global _entries
    _entries = _Entries()


def _reset() -> None:
    global _completed
    _completed = 0
    _begin_entries()


def _watch_forks() -> None:
    global _watches_forks
    if not _watches_forks:
        _watches_forks = True
        os.register_at_fork(after_in_child=_reset)


class _Start:
    """What a span keeps of its start; when it goes, the span is over."""

    __slots__ = ("_is_counted", "_started", "_was_alone", "entries", "rss_bytes")

    def __init__(self, entries: _Entries, rss_bytes: int, *, is_entry: bool) -> None:
        self.entries = entries
        self.rss_bytes = rss_bytes
        self._is_counted = is_entry
        self._was_alone = entries.open <= (0 if is_entry else 1)
        if is_entry:
            entries.open += 1
            entries.started += 1
        self._started = entries.started

    def is_exclusive(self) -> bool:
        """Whether no other entry span was open meanwhile, as far as it was seen."""
        was_seen = self.entries is _entries
        return was_seen and self._was_alone and self._started == self.entries.started

    def close(self) -> None:
        """Not open any more. Once."""
        if self._is_counted:
            self._is_counted = False
            self.entries.open -= 1

    # An abandoned span's too, wherever the collector is: nothing but plain numbers.
    __del__ = close


class Wrappers:
    """Wrappers of start_span and end, as wrapt calls them."""

    def __init__(self, span_filter: SpanFilter | None) -> None:
        self._filter = span_filter
        self._readings = open_readings()
        _begin_entries()
        _watch_forks()

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
        with _guard.guard("rss_spans: start_span"):
            if not isinstance(span, NonRecordingSpan):
                self._begin(span)
            else:
                context = args[1] if len(args) > 1 else kwargs.get("context")
                parent = get_current_span(context)
                # A disabled tracer answers with its parent's context: no span.
                if span.get_span_context() is not parent.get_span_context():
                    setattr(span, _UNSAMPLED, True)
        return span

    def _begin(self, span: Any) -> None:
        rss_bytes = self._rss_bytes()
        if rss_bytes is None:
            return
        parent = span.parent
        is_entry = parent is None or parent.is_remote
        setattr(span, _STATE, _Start(_entries, rss_bytes, is_entry=is_entry))

    def end(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Write the attributes, then end the span at the time it was asked to."""
        start: _Start | None = getattr(instance, _STATE, None)
        is_recording = instance.is_recording()
        if is_recording:
            _count()
        if start is None or not is_recording:
            return wrapped(*args, **kwargs)
        if not args and kwargs.get("end_time") is None:
            kwargs = {**kwargs, "end_time": time.time_ns()}
        with _guard.guard("rss_spans: end"):
            self._write(instance, start)
        return wrapped(*args, **kwargs)

    def end_unsampled(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Count a span that nobody will see."""
        if getattr(instance, _UNSAMPLED, False):
            setattr(instance, _UNSAMPLED, False)
            _count()
        return wrapped(*args, **kwargs)

    def _write(self, span: Any, start: _Start) -> None:
        delattr(span, _STATE)
        exclusive = start.is_exclusive()
        start.close()
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
