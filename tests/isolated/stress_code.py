# SPDX-License-Identifier: Apache-2.0
"""All sorts of Python code under a collector that never rests, in four threads.

Generators, coroutines, recursion until it fails, exceptions, finalisers, weak
references, code that is compiled and thrown away: samples hold its code objects.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import gc
import sys
import weakref

from _stress import (
    Threads,
    assert_nothing_lives,
    install,
    read_all,
    rounds,
    span,
    switch_about,
)

from otel_memory.heap import _core


class Finalised:
    """In a cycle; it and its weak reference's callback allocate when they go."""

    def __init__(self):
        self.me = self
        self.payload = bytearray(700)
        weakref.finalize(self, bytearray, 600)

    def __del__(self):
        # Up to 3.11 the collector may run within ContextVar.set, which does not
        # survive that finalisers set a variable of the same context.
        contextvars.copy_context().run(self.allocate)

    def allocate(self):
        with span("code in __del__"):
            self.payload = [bytearray(300) for _ in range(3)]


def generate(depth):
    with span("code in a generator"):
        for number in range(10):
            yield bytearray(number * 100)
            if depth:
                yield from generate(depth - 1)


def use_generators():
    abandoned = generate(3)
    next(abandoned)
    assert sum(len(part) for part in generate(2)) > 0
    closed = generate(1)
    next(closed)
    closed.close()


def recurse(depth=0):
    kept = [depth] * 80
    return recurse(depth + 1) + len(kept)


def use_recursion():
    with contextlib.suppress(RecursionError):
        recurse()


def use_exceptions():
    for number in range(20):
        try:
            try:
                raise ValueError(bytearray(500 + number))
            finally:
                str(number) * 500
        except ValueError as error:
            kept = error
        del kept


async def wait_and_allocate(depth):
    with span(f"code in a task {depth}"):
        kept = [bytearray(510 + depth)]
        await asyncio.sleep(0)
        kept.append("x" * 600)
        if depth:
            await asyncio.gather(*(wait_and_allocate(depth - 1) for _ in range(3)))
        kept.append(await asyncio.to_thread(bytes, 2_000) if depth == 2 else b"")
    return len(kept)


def use_coroutines():
    asyncio.run(wait_and_allocate(2))
    never = wait_and_allocate(0)
    never.close()


def use_code():
    scope = {}
    exec("def fresh(n):\n    return [bytearray(n) for _ in range(n % 50)]\n", scope)
    with span("code compiled"):
        kept = scope["fresh"](540)
    weakref.finalize(scope["fresh"].__code__, read_all)
    del scope, kept


def use_contexts():
    context = contextvars.copy_context()
    others = [contextvars.ContextVar(f"other {i}") for i in range(40)]
    for other in others:
        context.run(other.set, bytearray(520))
    context.run(use_exceptions)


USES = (
    use_generators,
    use_recursion,
    use_exceptions,
    use_coroutines,
    use_code,
    use_contexts,
)


UNRAISABLE = collections.deque()


def look_at_unraisable():
    """Finalisers may fail where a recursion is deepest; anything else is shown."""
    while UNRAISABLE:
        with contextlib.suppress(IndexError):  # another thread was faster
            failure = UNRAISABLE.popleft()
            if failure.exc_type is not RecursionError:
                sys.__unraisablehook__(failure)


def work(number):
    for turn in rounds():
        look_at_unraisable()
        with span(f"code {number}"):
            kept = [Finalised() for _ in range(4)]
            USES[turn % len(USES)]()
            del kept


install()
# Where a recursion leaves no room for a finaliser, a hook in Python has none either,
# and CPython complains about the hook.
sys.unraisablehook = UNRAISABLE.append
otel = contextvars.ContextVar("otel")
_core.configure_spans((1,), "span", "suppress", otel, int, dict, None, None)
gc.callbacks.append(_core.gc_callback)
gc.set_threshold(20, 2, 2)
before = _core.totals()[0]
threads = Threads()
for number in range(4):
    threads.start(work, number)
switch_about()
threads.join()
look_at_unraisable()
gc.set_threshold(700, 10, 10)
# The first use of asyncio and of the recursion limit leaves something behind.
assert_nothing_lives(before, "code", 1024 * 1024)
