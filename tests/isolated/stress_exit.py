# SPDX-License-Identifier: Apache-2.0
"""The interpreter ends in the middle of everything: in a span, with daemon threads.

Argument: whether `finalize` is registered for the exit, as `otel_memory.heap` does
(`registered`), or nobody says that the end is near (`unannounced`).
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import sys
import threading

from _stress import install, read_all, span

from otel_memory.heap import _core

ready = threading.Barrier(5)


class Late:
    """Goes when modules are taken apart; what it needs is still held by it."""

    def __init__(self):
        self.me = self
        self.core = _core
        self.kept = [bytearray(520) for _ in range(50)]

    def __del__(self):
        self.core.pairs()
        self.core.stacks(200)
        self.core.health()
        self.core.totals()
        record = self.core.begin("late")
        self.kept = [bytearray(600) for _ in range(50)]
        self.core.finish(record)
        self.core.forget_spans()
        assert self.core.set_sampling(True, rate_bytes=64) is None


def allocate_for_ever():
    kept = []
    ready.wait()
    while True:
        with span("daemon"):
            kept.append(bytearray(513))
            kept.append([None] * 70)
        del kept[:-50]


async def never_done():
    with span("never done"):
        await asyncio.get_running_loop().create_future()


def suspended():
    with span("suspended"):
        yield bytearray(700)


install()
atexit.register(read_all)
if sys.argv[1] == "registered":
    atexit.register(_core.finalize)
for _ in range(4):
    threading.Thread(target=allocate_for_ever, daemon=True).start()
ready.wait()
late = Late()
sys.late = Late()
generator = suspended()
next(generator)
coroutine = never_done()
loop = asyncio.new_event_loop()
task = loop.create_task(coroutine)
loop.call_soon(loop.stop)
loop.run_forever()
task._log_destroy_pending = False
gc.callbacks.append(lambda phase, info: _core.pairs())
_core.context_variable().set(_core.begin("open at the end"))
read_all()
