# SPDX-License-Identifier: Apache-2.0
"""Threads run at once; each span shows what its own thread, or its helpers, took."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

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
from _tools import ALLOCATED, DELTA, assert_close, attributes_of, core_pairs, start
from opentelemetry import trace

THREADS = 8
TO_THREAD_BYTES = 2_300
"""What asyncio moves when it hands a call to a pool thread and takes the answer."""
LARGE_BYTES = 20_000_000

kept = []


def case_threads_at_once():
    tracer = start()
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(THREADS, timeout=60)
    rounds = 5

    def work(number):
        plan = plan_of(number)
        for turn in range(rounds):
            blocks = []
            barrier.wait()
            with tracer.start_as_current_span(f"thread {number}, turn {turn}"):
                for gives_back in plan:
                    blocks.append(block())
                    if gives_back:
                        blocks.pop()
                barrier.wait()  # all spans are open until the last has done its work
            kept.append(blocks)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(THREADS):
        for turn in range(rounds):
            check(f"thread {number}, turn {turn}", expected_of(plan_of(number)))


def take(count):
    return [block() for _ in range(count)]


def case_to_thread_is_charged_to_its_caller():
    tracer = start()

    async def one(number):
        with tracer.start_as_current_span(f"caller {number}"):
            kept.append(await asyncio.to_thread(take, 10 + number))

    async def everything():
        await asyncio.to_thread(int)  # imports what the first call needs
        await asyncio.gather(*[one(i) for i in range(20)])

    asyncio.run(everything())
    for i in range(20):
        took = STEP_BYTES * (10 + i)
        check(
            f"caller {i}",
            Expected(took, took, took),
            slack=EMPTY_SPAN_BYTES + TO_THREAD_BYTES,
            churn=EMPTY_SPAN_BYTES + 3 * TO_THREAD_BYTES,
        )


def case_an_executor_charges_what_the_context_says():
    """One pool thread runs calls with one caller's context, another's, and none."""
    tracer = start()

    async def one(name, count, *, with_context):
        loop = asyncio.get_running_loop()
        with tracer.start_as_current_span(name):
            if with_context:
                context = contextvars.copy_context()
                await loop.run_in_executor(pool, context.run, keep, count)
            else:
                await loop.run_in_executor(pool, keep, count)

    def keep(count):
        kept.append(take(count))

    async def everything():
        await asyncio.gather(
            one("first", 10, with_context=True),
            one("without", 70, with_context=False),
            one("second", 30, with_context=True),
        )

    with ThreadPoolExecutor(1) as pool:
        # The pool makes its thread at the first call, outside of the spans.
        pool.submit(keep, 1).result()
        asyncio.run(everything())
    slack = EMPTY_SPAN_BYTES + TO_THREAD_BYTES
    churn = EMPTY_SPAN_BYTES + 3 * TO_THREAD_BYTES
    for name, count in (("first", 10), ("without", 0), ("second", 30)):
        took = STEP_BYTES * count
        check(name, Expected(took, took, took), slack=slack, churn=churn)


def case_a_span_may_end_in_another_thread():
    """What the first thread took before that belongs to it, and nothing after."""
    tracer = start()
    span = tracer.start_span("handed over")

    def ends():
        with trace.use_span(span):
            kept.append(bytes(LARGE_BYTES))
        span.end()

    with trace.use_span(span):
        kept.append(bytes(2 * LARGE_BYTES))
        thread = threading.Thread(target=ends)
        thread.start()
        thread.join()
        kept.append(bytes(5 * LARGE_BYTES))
    took = 3 * LARGE_BYTES
    # The thread object and its locks are of the span, too.
    check("handed over", Expected(took, took, took), slack=10_000)
    rest = core_pairs()["after-end", "handed over"]
    assert_close(rest.allocated, 5 * LARGE_BYTES, EMPTY_SPAN_BYTES)


def case_a_span_gets_what_two_threads_take_at_once():
    """Its counters are those of the threads until it ends."""
    tracer = start()
    barrier = threading.Barrier(2, timeout=60)
    span = tracer.start_span("shared")

    def work():
        with trace.use_span(span):
            barrier.wait()
            kept.append(take(100))
            barrier.wait()  # both are still current when it ends
            barrier.wait()

    thread = threading.Thread(target=work)
    thread.start()
    with trace.use_span(span):
        barrier.wait()
        kept.append(take(200))
        barrier.wait()
        span.end()
        barrier.wait()
    thread.join()
    took = 300 * STEP_BYTES
    check("shared", Expected(took, took, took), slack=2 * EMPTY_SPAN_BYTES)
    before = attributes_of("shared")
    kept.append(take(10))
    assert attributes_of("shared") == before
    assert before[DELTA] <= before[ALLOCATED]


if __name__ == "__main__":
    run(globals())
