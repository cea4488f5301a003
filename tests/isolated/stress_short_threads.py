# SPDX-License-Identifier: Apache-2.0
"""Threads that live for a moment, in a span, and threads that Python did not start.

Each has thread-local counters, a sample's distance, and a share in a record.
"""

from __future__ import annotations

import contextvars
import ctypes
import ctypes.util
import threading

from _stress import (
    Threads,
    assert_nothing_lives,
    install,
    rounds,
    span,
    switch_about,
)

from otel_memory.heap import _core

libc = ctypes.CDLL(None)
Started = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
lock = threading.Lock()
done = []


def moment(left_behind):
    kept = [bytearray(size) for size in (0, 500, 513, 9_000)]
    left_behind.append(kept.pop(1))
    with span("short inner"):
        kept.append("x" * 520)


def start_short_threads(number):
    left_behind = []
    for _ in rounds():
        with span(f"short {number}"):
            context = contextvars.copy_context()
            threads = [
                threading.Thread(target=context.copy().run, args=(moment, left_behind))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            del left_behind[:]


@Started
def in_foreign_thread(_argument):
    """The interpreter makes and drops a thread state around each of these."""
    kept = [bytearray(size) for size in (16, 512, 700)]
    with span("short foreign"), lock:
        done.append(len(kept))
    return None


def start_foreign_threads():
    for _ in rounds():
        thread = ctypes.c_ulong()
        assert (
            libc.pthread_create(ctypes.byref(thread), None, in_foreign_thread, None)
            == 0
        )
        assert libc.pthread_join(thread, None) == 0


install()
libc.pthread_create.argtypes = [ctypes.c_void_p] * 2 + [Started, ctypes.c_void_p]
libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
before = _core.totals()[0]
threads = Threads()
for number in range(3):
    threads.start(start_short_threads, number)
threads.start(start_foreign_threads)
switch_about()
threads.join()
print("foreign threads:", len(done))
assert set(done) == {3}
done.clear()
assert_nothing_lives(before, "short")
