# SPDX-License-Identifier: Apache-2.0
"""Spans that end late, elsewhere or never, and spans inside spans."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

from _accuracy import EMPTY_SPAN_BYTES, Expected, check, run
from _tools import (
    EXCLUSIVE,
    OWN,
    assert_close,
    attributes_of,
    core_pairs,
    start,
    telemetry,
)
from opentelemetry import trace

from otel_memory import MemoryInstrumentor, track_memory

LARGE_BYTES = 10_000_000
SWITCHES_BYTES = 1_000
"""What asyncio moves at the few switches of one case."""

kept = []


def open_spans():
    from otel_memory.heap import _core

    core_pairs()  # a reading buries what is dead
    return _core.health()["open_spans"]


def case_an_abandoned_async_generator():
    """Its span is current only while it runs, and ends when the loop closes it."""
    start()

    @track_memory("generator")
    async def generate():
        for _ in range(10):
            piece = bytes(LARGE_BYTES)
            await asyncio.sleep(0)
            yield len(piece)
            kept.append(piece)

    @track_memory("consumer")
    async def consume():
        turn = 0
        async for _ in generate():
            kept.append(bytes(3 * LARGE_BYTES))
            turn += 1
            if turn == 3:
                break

    async def everything():
        await asyncio.create_task(consume())
        gc.collect()
        await asyncio.sleep(0)  # the loop closes it in a task of its own
        await asyncio.sleep(0)

    asyncio.run(everything())
    # Three pieces were taken, two are kept, the third goes with the frame.
    slack = EMPTY_SPAN_BYTES + SWITCHES_BYTES
    unit = LARGE_BYTES
    check(
        "generator", Expected(2 * unit, 3 * unit, 3 * unit), slack=slack, churn=10_000
    )
    assert_close(attributes_of("consumer")[OWN], 3 * 3 * unit, 30_000)
    assert open_spans() == 0


def case_an_abandoned_async_generator_with_a_block():
    """A block around a `yield` gets what the consumer does, and ends all the same."""
    tracer = start()
    # OpenTelemetry says so when a block ends in another context than it began in.
    logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)

    async def generate():
        with tracer.start_as_current_span("generator"):
            for _ in range(10):
                kept.append(bytes(LARGE_BYTES))
                await asyncio.sleep(0)
                yield

    async def consume():
        with tracer.start_as_current_span("consumer"):
            turn = 0
            async for _ in generate():
                kept.append(bytes(3 * LARGE_BYTES))
                turn += 1
                if turn == 2:
                    break

    async def bystander():
        with tracer.start_as_current_span("bystander"):
            for _ in range(10):
                await asyncio.sleep(0)

    async def everything():
        await asyncio.gather(consume(), bystander())
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(everything())
    took = 2 * LARGE_BYTES + 2 * 3 * LARGE_BYTES
    slack = EMPTY_SPAN_BYTES + SWITCHES_BYTES
    check("generator", Expected(took, took, took), slack=slack, churn=20_000)
    check("bystander", Expected(0, 0, 0), slack=slack + 1_700, churn=20_000)
    assert open_spans() == 0


def forget(tracer, name, *, keeps):
    """Start a span, work in it, and never end it."""
    span = tracer.start_span(name)
    with trace.use_span(span):
        large = bytes(LARGE_BYTES)
    if keeps:
        kept.append(large)
    return weakref.ref(span)


def case_a_span_that_never_ends_is_collected():
    tracer = start()
    spans = [forget(tracer, f"forgotten {i}", keeps=False) for i in range(100)]
    gc.collect()
    assert [span() for span in spans if span() is not None] == []
    assert open_spans() == 0
    assert telemetry.exporter.get_finished_spans() == ()
    # Its bytes count, it does not.
    row = core_pairs()["span", "forgotten 7"]
    assert row.count == 0
    assert_close(row.allocated, LARGE_BYTES, EMPTY_SPAN_BYTES)


def case_a_span_that_never_ends_is_not_open_for_what_it_left():
    """What was born in it may live on; it itself is gone, and overlaps nobody."""
    tracer = start()
    for i in range(10):
        forget(tracer, f"forgotten {i}", keeps=True)
    gc.collect()
    assert open_spans() == 0
    with tracer.start_as_current_span("later"):
        pass
    assert attributes_of("later")[EXCLUSIVE] is True
    live = sum(row.live for row in core_pairs().values() if "forgotten" in row.name)
    assert_close(live, 10 * LARGE_BYTES, share=0.1)


def case_a_span_that_never_ends_does_not_hold_its_parent():
    tracer = start()
    with tracer.start_as_current_span("parent") as parent:
        forget(tracer, "forgotten", keeps=False)
        parent = weakref.ref(parent)
    telemetry.exporter.clear()
    for _ in range(10):  # the core holds the last few ended spans a little longer
        with tracer.start_as_current_span("next"):
            pass
    gc.collect()
    assert parent() is None
    assert open_spans() == 0


def case_a_peak_inside_a_child_is_the_parents_too():
    tracer = start()
    with tracer.start_as_current_span("parent"):
        kept.append(bytes(2 * LARGE_BYTES))
        with tracer.start_as_current_span("child"):
            kept.append(bytes(LARGE_BYTES))
            large = bytes(5 * LARGE_BYTES)
            del large
        large = bytes(LARGE_BYTES)
        del large
        with tracer.start_as_current_span("small child"):
            large = bytes(LARGE_BYTES)
            del large
        kept.append(bytes(LARGE_BYTES))
    unit = LARGE_BYTES
    check("child", Expected(1 * unit, 6 * unit, 6 * unit))
    check("small child", Expected(0, unit, unit))
    shown = check(
        "parent",
        Expected(4 * unit, (2 + 6) * unit, (2 + 6 + 1 + 1 + 1) * unit),
        slack=4_000,
    )
    assert_close(shown[OWN], 4 * unit, 4_000)


def case_a_peak_before_a_child_is_not_added_to_the_childs():
    tracer = start()
    with tracer.start_as_current_span("grandparent"):
        with tracer.start_as_current_span("parent"):
            large = bytes(7 * LARGE_BYTES)
            del large
            with tracer.start_as_current_span("child"):
                large = bytes(3 * LARGE_BYTES)
                del large
        with tracer.start_as_current_span("second"):
            large = bytes(2 * LARGE_BYTES)
            del large
    unit = LARGE_BYTES
    check("child", Expected(0, 3 * unit, 3 * unit))
    check("second", Expected(0, 2 * unit, 2 * unit))
    check("parent", Expected(0, 7 * unit, 10 * unit), slack=4_000)
    check("grandparent", Expected(0, 7 * unit, 12 * unit), slack=8_000)


def case_figures_are_right_without_an_sdk_and_while_they_are_read():
    """What a block reached before is not added to what its child brings."""
    MemoryInstrumentor().instrument()
    unit = LARGE_BYTES
    with track_memory("parent") as parent:
        large = bytes(7 * unit)
        assert_close(parent.delta_bytes, 7 * unit, EMPTY_SPAN_BYTES)
        del large
        assert_close(parent.delta_bytes, 0, EMPTY_SPAN_BYTES)
        with track_memory("child") as child:
            kept.append(bytes(unit))
        assert_close(parent.peak_bytes, 7 * unit, 2 * EMPTY_SPAN_BYTES)
        large = bytes(2 * unit)
        del large
    assert_close(child.peak_bytes, unit, EMPTY_SPAN_BYTES)
    assert_close(parent.delta_bytes, unit, 10_000)
    assert_close(parent.peak_bytes, 7 * unit, 10_000)
    assert_close(parent.allocated_bytes, 10 * unit, 20_000)
    assert open_spans() == 0


if __name__ == "__main__":
    run(globals())
