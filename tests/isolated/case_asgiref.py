# SPDX-License-Identifier: Apache-2.0
"""asgiref carries contexts to threads and back by ContextVar.set."""

from __future__ import annotations

import asyncio

from _tools import DELTA, MIB, OWN, assert_close, attributes_of, say, start
from asgiref.sync import async_to_sync, sync_to_async
from opentelemetry import context, trace

TO_THREAD_BYTES = 2_300 * 4  # what a few switches of thread move across

tracer = start()
kept = []


def allocate(size):
    kept.append(bytearray(size))


def enter_step():
    """Leaves a span current; asgiref makes it current in its caller, too."""
    step = tracer.start_span("step")
    context.attach(trace.set_span_in_context(step))
    return step


def leave_step(request):
    context.attach(trace.set_span_in_context(request))


async def request():
    with tracer.start_as_current_span("request") as span:
        await sync_to_async(allocate)(3 * MIB)
        step = await sync_to_async(enter_step)()
        assert trace.get_current_span() is step
        allocate(5 * MIB)
        await sync_to_async(allocate)(1 * MIB)
        await sync_to_async(leave_step)(span)
        assert trace.get_current_span() is span
        allocate(7 * MIB)
        step.end()


async def inner():
    with tracer.start_as_current_span("inner"):
        await asyncio.sleep(0)
        allocate(4 * MIB)
    allocate(2 * MIB)
    return enter_step()


def outer():
    with tracer.start_as_current_span("outer") as span:
        allocate(1 * MIB)
        step = async_to_sync(inner)()
        assert trace.get_current_span() is step
        allocate(6 * MIB)
        leave_step(span)
        allocate(1 * MIB)
        step.end()


async def warm_up():
    await sync_to_async(allocate)(1)


asyncio.run(warm_up())
asyncio.run(request())
async_to_sync(warm_up)()
found = attributes_of("request"), attributes_of("step")
say(*found)
slack = TO_THREAD_BYTES + 4096 * 4
assert_close(found[0][DELTA], 16 * MIB, slack)
assert_close(found[0][OWN], 10 * MIB, share=0.015, slack=MIB // 4)
assert_close(found[1][DELTA], 6 * MIB, slack)

outer()
found = attributes_of("outer"), attributes_of("inner"), attributes_of("step")
say(*found)
assert_close(found[1][DELTA], 4 * MIB, slack)
assert_close(found[2][DELTA], 6 * MIB, slack)
assert_close(found[0][DELTA], 14 * MIB, slack + MIB // 8)  # the loop's own
