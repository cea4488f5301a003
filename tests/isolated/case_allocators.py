# SPDX-License-Identifier: Apache-2.0
"""With another allocator below, figures are right, or off with a reason in one line."""

from __future__ import annotations

import logging
import sys

from _tools import (
    DELTA,
    HEAP_ATTRIBUTES,
    MIB,
    RSS,
    assert_close,
    attributes_of,
    metric_points,
    say,
    start,
)


class Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


messages = Messages()
logging.getLogger("otel_memory").addHandler(messages)
expected, kept = sys.argv[1], []
tracer = start()
with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
    kept.append(b"x" * (20 * MIB))
    kept.append([bytes(100) for _ in range(10_000)])
found = attributes_of("inner")
((_, source),) = metric_points()["otel_memory.heap.source"]
say(found, source, messages.said)
assert source["otel_memory.heap.source"] == expected
if expected == "native":
    assert messages.said == []
    listed = 10_000 * 144 + kept[1].__sizeof__()
    assert_close(found[DELTA], 20 * MIB + listed, slack=64 * 1024)
else:
    reason = source["otel_memory.heap.reason"]
    assert "debug allocator" in reason, reason
    (message,) = messages.said
    assert reason in message, message
    assert "\n" not in message
    assert not set(HEAP_ATTRIBUTES) & set(found)
    assert found[RSS] > 15 * MIB
    assert not metric_points().get("otel_memory.heap.usage")
