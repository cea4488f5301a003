# SPDX-License-Identifier: Apache-2.0
"""What outlives its span, allocates under `NAME (after end)`."""

from __future__ import annotations

import asyncio

from _tools import (
    DELTA,
    MIB,
    assert_close,
    attributes_of,
    core_pairs,
    metric_points,
    say,
    start,
)
from opentelemetry.trace import SpanKind

from otel_memory.heap import _core

NAME = "GET /first"

tracer = start()
_core.set_sampling(True, rate_bytes=64 * 1024)  # enough samples to tell
kept = []


async def reader(go_on, done):
    await go_on.wait()
    for _ in range(16):
        kept.append(bytearray(MIB))
        await asyncio.sleep(0)
    done.set()


async def main():
    go_on, done = asyncio.Event(), asyncio.Event()
    with tracer.start_as_current_span(NAME, kind=SpanKind.SERVER):
        kept.append(bytearray(4 * MIB))
        task = asyncio.create_task(reader(go_on, done))
        await asyncio.sleep(0)
    with tracer.start_as_current_span("GET /second", kind=SpanKind.SERVER):
        go_on.set()
        await done.wait()
    await task


asyncio.run(main())
rows = core_pairs()
after, first = rows[("after-end", NAME)], rows[("span", NAME)]
say(after, first, attributes_of(NAME), attributes_of("GET /second"))
assert_close(after.allocated, 16 * MIB, slack=64 * 1024)
assert_close(after.live, 16 * MIB, share=0.4)
assert after.count == 0
assert_close(first.allocated, 4 * MIB, slack=64 * 1024)
assert_close(first.live, 4 * MIB, share=0.2)
assert_close(attributes_of(NAME)[DELTA], 4 * MIB, slack=16 * 1024)
assert abs(attributes_of("GET /second")[DELTA]) < 16 * 1024
points = metric_points()
for metric, expected in (
    ("otel_memory.span.heap.live", after.live),
    ("otel_memory.span.heap.allocated", after.allocated),
):
    (value,) = [
        value
        for value, attributes in points[metric]
        if attributes["span.name"] == f"{NAME} (after end)"
        and attributes["otel_memory.sort"] == "after-end"
        and attributes["otel_memory.entry"] == NAME
        and attributes["span.kind"] == "SERVER"
    ]
    assert_close(value, expected, slack=64 * 1024)
