# SPDX-License-Identifier: Apache-2.0
"""Two callbacks on one native thread: each span gets its own bytes only.

Every PyGILState_Ensure makes a new thread state, whose count of context switches
starts anew, at an address that the last one had.
"""

from __future__ import annotations

import sys

sys.path.insert(0, sys.argv[1])

from _tools import (
    DELTA,
    MIB,
    OWN,
    assert_close,
    attributes_of,
    say,
    start,
)
from native_thread import call_twice
from opentelemetry import context, trace

tracer = start()
kept = []
sizes = ((3 * MIB, 7 * MIB), (5 * MIB, 11 * MIB))


def detached(number):
    kept.append(bytearray(sizes[number][1]))  # before any span: nobody's
    with tracer.start_as_current_span(f"callback {number}"):
        kept.append(bytearray(sizes[number][0]))
        small = [object() for _ in range(10_000)]
    del small
    kept.append(bytearray(sizes[number][1]))


left = []


def left_attached(number):
    kept.append(bytearray(sizes[number][1]))
    left.append(tracer.start_span(f"left {number}"))
    context.attach(trace.set_span_in_context(left[-1]))
    kept.append(bytearray(sizes[number][0]))


call_twice(detached)
for _ in range(20):  # addresses are reused by and by
    del kept[:], left[:]
    call_twice(left_attached)
    for span in left:
        span.end()
    for number in range(2):
        found = attributes_of(f"left {number}")
        assert_close(found[DELTA], sizes[number][0], slack=8192)
        assert_close(found[OWN], sizes[number][0], slack=8192)
for number in range(2):
    found = attributes_of(f"callback {number}")
    say(found)
    assert_close(found[DELTA], sizes[number][0] + 10_000 * 16 + 87_000, slack=8192)
