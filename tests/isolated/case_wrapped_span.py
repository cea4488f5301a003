# SPDX-License-Identifier: Apache-2.0
"""A span that another library wrapped, and made current, is charged all the same."""

from __future__ import annotations

import wrapt
from _tools import (
    DELTA,
    MIB,
    assert_close,
    attributes_of,
    core_pairs,
    say,
    start,
)
from opentelemetry import trace

tracer = start()
kept = []


class PassThrough(trace.Span):
    """As vendors write them: a Span of its own that hands everything on."""

    def __init__(self, span):
        self._span = span

    def __getattr__(self, name):
        return getattr(self._span, name)

    def end(self, end_time=None):
        self._span.end(end_time)

    def get_span_context(self):
        return self._span.get_span_context()

    def set_attributes(self, attributes):
        self._span.set_attributes(attributes)

    def set_attribute(self, key, value):
        self._span.set_attribute(key, value)

    def add_event(self, name, attributes=None, timestamp=None):
        self._span.add_event(name, attributes, timestamp)

    def add_link(self, context, attributes=None):
        self._span.add_link(context, attributes)

    def update_name(self, name):
        self._span.update_name(name)

    def is_recording(self):
        return self._span.is_recording()

    def set_status(self, status, description=None):
        self._span.set_status(status, description)

    def record_exception(self, exception, *args, **kwargs):
        self._span.record_exception(exception, *args, **kwargs)


class Opaque:
    """Passes nothing on: what is no span of the SDK's is nobody's, and no crash."""


for name, wrap in (("proxy", wrapt.ObjectProxy), ("pass-through", PassThrough)):
    span = wrap(tracer.start_span(name))
    with trace.use_span(span, end_on_exit=True):
        kept.append(bytearray(5 * MIB))
        with tracer.start_as_current_span(f"child of {name}"):
            kept.append(bytearray(2 * MIB))
    found = attributes_of(name)
    say(name, found)
    assert_close(found[DELTA], 7 * MIB, slack=16 * 1024)
    assert core_pairs()[("span", f"child of {name}")].entry == name

before = core_pairs()[("no-span", "(no span)")].allocated
with tracer.start_as_current_span("outer"), trace.use_span(Opaque()):
    kept.append(bytearray(9 * MIB))
gained = core_pairs()[("no-span", "(no span)")].allocated - before
say("opaque", gained, attributes_of("outer"))
assert_close(gained, 9 * MIB, slack=MIB // 2)
assert attributes_of("outer")[DELTA] < MIB
