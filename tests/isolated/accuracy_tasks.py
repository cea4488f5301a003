# SPDX-License-Identifier: Apache-2.0
"""Tasks of one event loop take turns; each span shows its own task's bytes.

Usage: accuracy_tasks.py CASE HOW, where HOW is how tasks are started.
"""

from __future__ import annotations

import asyncio

import uvloop
from _accuracy import (
    EMPTY_SPAN_BYTES,
    STEP_BYTES,
    Expected,
    block,
    check,
    expected_of,
    plan_of,
    run,
)
from _tools import DELTA, OWN, attributes_of, start

TASKS = 50
SWITCH_BYTES = 170
"""What asyncio moves from one context to another when a task gives way."""
SWITCH_CHURN_BYTES = 700
"""What it makes anew each time: a handle, the coroutine that is awaited."""

kept = []


async def gather(coroutines):
    await asyncio.gather(*coroutines)


async def task_group(coroutines):
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def eagerly(coroutines):
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await asyncio.gather(*[asyncio.create_task(each) for each in coroutines])


def run_on_uvloop(coroutine):
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


WAYS = {
    "asyncio": (asyncio.run, gather),
    "uvloop": (run_on_uvloop, gather),
    "task_group": (asyncio.run, task_group),
    "uvloop_task_group": (run_on_uvloop, task_group),
    "eager": (asyncio.run, eagerly),
}


async def work(tracer, name, plan):
    blocks = []
    with tracer.start_as_current_span(name):
        for gives_back in plan:
            blocks.append(block())
            await asyncio.sleep(0)
            if gives_back:
                blocks.pop()
    kept.append(blocks)


def case_interleaved_tasks(how):
    run_loop, start_all = WAYS[how]
    tracer = start()

    async def everything():
        with tracer.start_as_current_span("parent"):
            await start_all(
                [work(tracer, f"task {i}", plan_of(i)) for i in range(TASKS)]
            )

    run_loop(everything())
    total = 0
    for i in range(TASKS):
        plan = plan_of(i)
        switches = len(plan) + 1
        check(
            f"task {i}",
            expected_of(plan),
            slack=EMPTY_SPAN_BYTES + SWITCH_BYTES * switches,
            churn=EMPTY_SPAN_BYTES + SWITCH_CHURN_BYTES * switches,
        )
        total += attributes_of(f"task {i}")[DELTA]
    parent = attributes_of("parent")
    # Tasks are made by it: their objects, contexts and coroutines are its own.
    assert 0 < parent[OWN] < TASKS * 10_000, parent
    assert abs(parent[DELTA] - total) < TASKS * 10_000, (parent, total)


def case_frees_right_after_an_await(how):
    """Nothing is allocated between the switch and the free."""
    run_loop, start_all = WAYS[how]
    tracer = start()
    large_bytes, count = 60_000_000, 3

    async def one(name):
        with tracer.start_as_current_span(name):
            large = bytes(large_bytes)
            await asyncio.sleep(0)
            del large

    async def everything():
        await one("warm-up")  # 3.10 keeps a frame for each function that ran
        await start_all([one(f"task {i}") for i in range(count)])

    run_loop(everything())
    for i in range(count):
        check(f"task {i}", Expected(0, large_bytes, large_bytes))


def case_a_waiting_task_shows_only_its_own_switches(how):
    run_loop, start_all = WAYS[how]
    tracer = start()
    ticks = 300

    async def waits(event):
        with tracer.start_as_current_span("waits"):
            await event.wait()

    async def ticks_on():
        with tracer.start_as_current_span("ticks"):
            for _ in range(ticks):
                await asyncio.sleep(0)

    async def allocates(event):
        with tracer.start_as_current_span("allocates"):
            for _ in range(ticks):
                kept.append(block())
                await asyncio.sleep(0)
        event.set()

    async def everything():
        event = asyncio.Event()
        await start_all([waits(event), ticks_on(), allocates(event)])

    run_loop(everything())
    moved = EMPTY_SPAN_BYTES + SWITCH_BYTES * ticks
    took = STEP_BYTES * ticks
    check("waits", Expected(0, 0, 0), churn=EMPTY_SPAN_BYTES + 2 * SWITCH_CHURN_BYTES)
    check(
        "ticks",
        Expected(0, 0, 0),
        slack=moved,
        churn=EMPTY_SPAN_BYTES + SWITCH_CHURN_BYTES * ticks,
    )
    check(
        "allocates",
        Expected(took, took, took),
        slack=moved,
        churn=EMPTY_SPAN_BYTES + SWITCH_CHURN_BYTES * ticks,
    )


if __name__ == "__main__":
    run(globals())
