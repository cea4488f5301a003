# SPDX-License-Identifier: Apache-2.0
"""Link memory to spans: wrap what starts, ends, renames, attaches and detaches them.

Not a span processor: the SDK freezes a span's attributes before it calls one
(opentelemetry-python issue 5614). The wrappers themselves are written in C where
the counting core is there; without it, `rss_spans` writes what can be known.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import opentelemetry.context
import opentelemetry.sdk.trace
import opentelemetry.trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import NonRecordingSpan, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY
from wrapt import FunctionWrapper, wrap_function_wrapper

from otel_memory import _guard, rss_spans
from otel_memory.sites import describe_site, largest_sites, working_directory
from otel_memory.span_filter import SpanFilter

_SITES_MAX = 5
_KINDS = tuple(sorted(SpanKind, key=lambda kind: kind.value))
_KIND_WORDS = tuple(kind.name for kind in _KINDS)

_WRAPPED: tuple[tuple[type, str], ...] = (
    (opentelemetry.sdk.trace.Tracer, "start_span"),
    (opentelemetry.sdk.trace.Span, "end"),
    (opentelemetry.sdk.trace.Span, "update_name"),
    (NonRecordingSpan, "end"),
    (NonRecordingSpan, "update_name"),
    (ContextVarsRuntimeContext, "attach"),
    (ContextVarsRuntimeContext, "detach"),
)


def why_not_attributable() -> str | None:
    """Say why spans cannot be followed in this process; None when they can."""
    if isinstance(opentelemetry.context._RUNTIME_CONTEXT, ContextVarsRuntimeContext):
        return None
    return "OTEL_PYTHON_CONTEXT has chosen a context that is not context variables"


def _answer_by_index(span_filter: SpanFilter) -> Callable[[str, int], bool]:
    def matches(name: str, kind: int) -> bool:
        return span_filter.matches(name, _KIND_WORDS[kind])

    return matches


def _describe_sites() -> Callable[[list[tuple[Any, int]]], tuple[str, ...]]:
    """Make what turns the stacks that took most within a span into texts."""
    directory = working_directory()

    def describe(shares: list[tuple[Any, int]]) -> tuple[str, ...]:
        largest = largest_sites(shares)[:_SITES_MAX]
        return tuple(describe_site(site, size, directory) for site, size in largest)

    return describe


def _wrap_natively(
    span_filter: SpanFilter | None, top_sites_threshold_bytes: int
) -> None:
    from otel_memory.heap import _core  # noqa: PLC0415 - only where it is

    runtime_context: Any = opentelemetry.context._RUNTIME_CONTEXT
    _core.configure_spans(
        _KINDS,
        _SPAN_KEY,
        opentelemetry.context._SUPPRESS_INSTRUMENTATION_KEY,
        runtime_context._current_context,
        NonRecordingSpan,
        BoundedAttributes,
        None if span_filter is None else _answer_by_index(span_filter),
        _guard.report,
    )
    _core.set_top_sites(top_sites_threshold_bytes, _describe_sites())
    for owner, method in _WRAPPED:
        setattr(owner, method, _core.wrap(method, vars(owner)[method]))
    gc.callbacks.append(_core.gc_callback)


def _wrap_for_rss(span_filter: SpanFilter | None) -> None:
    wrappers = rss_spans.Wrappers(span_filter)
    tracer, span = opentelemetry.sdk.trace.Tracer, opentelemetry.sdk.trace.Span
    wrap_function_wrapper(tracer, "start_span", wrappers.start_span)
    wrap_function_wrapper(span, "end", wrappers.end)
    wrap_function_wrapper(NonRecordingSpan, "end", wrappers.end_unsampled)


def install(
    *,
    native: bool,
    span_filter: SpanFilter | None,
    top_sites_threshold_bytes: int = 0,
) -> None:
    """Wrap OpenTelemetry's methods.

    Args:
        native: Whether the counting core's wrappers are used; else spans carry
            what the process's RSS tells.
        span_filter: Which spans carry attributes; None means all.
        top_sites_threshold_bytes: Spans that took so much say where; 0 means none.
    """
    if native:
        _wrap_natively(span_filter, top_sites_threshold_bytes)
    else:
        _wrap_for_rss(span_filter)


def _is_ours(member: object) -> bool:
    if isinstance(member, FunctionWrapper):
        return getattr(member._self_wrapper, "__module__", "") == rss_spans.__name__
    kind = type(member)
    return (kind.__module__, kind.__name__) == ("otel_memory.heap._core", "Method")


def uninstall() -> None:
    """Take the wrappers out again. Spans that are open end without figures.

    A wrapper that another tool has wrapped since stays, and does nothing.
    """
    for owner, method in _WRAPPED:
        member: Any = vars(owner)[method]
        if _is_ours(member):
            setattr(owner, method, member.__wrapped__)
    gc.callbacks[:] = [
        callback
        for callback in gc.callbacks
        if (getattr(callback, "__module__", ""), getattr(callback, "__name__", ""))
        != ("otel_memory.heap._core", "gc_callback")
    ]
