# SPDX-License-Identifier: Apache-2.0
"""tracemalloc, started before us and stopped after, takes our hooks out.

Then there are no figures, rather than zeros: no heap attributes, no usage, and one
warning.
"""

from __future__ import annotations

import logging
import sys
import time
import tracemalloc

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


logger = logging.getLogger("otel_memory")
logger.propagate = False
messages = Messages()
logger.addHandler(messages)


def source_is_lost():
    ((_, attributes),) = metric_points()["otel_memory.heap.source"]
    if attributes["otel_memory.heap.source"] != "lost":
        return False
    assert "tracemalloc" in attributes["otel_memory.heap.reason"], attributes
    return True


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def assert_no_figures(name):
    found = attributes_of(name)
    say(name, found)
    assert not set(HEAP_ATTRIBUTES) & set(found), found
    assert found[RSS] > 8 * MIB, found


tracemalloc.start()
tracer = start(interval_seconds=0.05)
with tracer.start_as_current_span("before"):
    kept = [bytearray(5 * MIB)]
# tracemalloc's own tables pass through our RAW hook.
assert_close(attributes_of("before")[DELTA], 5 * MIB, slack=64 * 1024)
assert metric_points()["otel_memory.heap.usage"][0][0] > 0

kind = sys.argv[1]
if kind == "seen by a span":  # before the watcher can come
    with tracer.start_as_current_span("parent"):
        tracemalloc.stop()
        with tracer.start_as_current_span("child"):
            kept.append(b"x" * (10 * MIB))
    assert_no_figures("child")
    assert_no_figures("parent")
elif kind == "open meanwhile":
    with tracer.start_as_current_span("parent"):
        tracemalloc.stop()
        kept.append(b"x" * (10 * MIB))
    assert_no_figures("parent")
else:
    tracemalloc.stop()
    wait_for(lambda: messages.said)
    with tracer.start_as_current_span("later"):
        kept.append(b"x" * (10 * MIB))
    assert_no_figures("later")

wait_for(source_is_lost)
points = metric_points()
assert not points.get("otel_memory.heap.usage"), points["otel_memory.heap.usage"]
for metric in ("count", "heap.live", "heap.allocated", "heap.peak"):
    assert not points.get(f"otel_memory.span.{metric}"), metric
assert points["otel_memory.process.rss"][0][0] > 0
wait_for(lambda: messages.said)
time.sleep(0.3)  # several ticks of the watcher: none of them says it again
say(messages.said)
assert len(messages.said) == 1
assert "tracemalloc" in messages.said[0]
