# SPDX-License-Identifier: Apache-2.0
"""RAW bytes that a thread takes without the GIL are its span's, also when it ends."""

from __future__ import annotations

import contextvars
import ctypes
import sys
import threading

sys.path.insert(0, sys.argv[1])

from _tools import (
    DELTA,
    MIB,
    PEAK,
    assert_close,
    attributes_of,
    say,
    start,
)
from native_thread import call_and_leave
from opentelemetry import context, trace

from otel_memory.heap import _core

tracer = start()
library = ctypes.CDLL(None)  # lets go of the GIL for each call
library.PyMem_RawMalloc.restype = ctypes.c_void_p
library.PyMem_RawMalloc.argtypes = [ctypes.c_size_t]
library.PyMem_RawFree.argtypes = [ctypes.c_void_p]
blocks = []


def take(size):
    blocks.append(library.PyMem_RawMalloc(size))


def free_all():
    while blocks:
        library.PyMem_RawFree(blocks.pop())


def threads_that_end():
    with tracer.start_as_current_span("ended threads"):
        for _ in range(20):
            thread = threading.Thread(
                target=contextvars.copy_context().run, args=(take, MIB)
            )
            thread.start()
            thread.join()
    found = attributes_of("ended threads")
    say(found)
    assert_close(found[DELTA], 20 * MIB, slack=20 * 2300)
    assert found[PEAK] >= found[DELTA]


def thread_that_waits():
    took, go_on = threading.Event(), threading.Event()

    def take_and_wait():
        take(8 * MIB)
        took.set()
        go_on.wait()

    with tracer.start_as_current_span("waiting thread"):
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(take_and_wait,)
        )
        thread.start()
        took.wait()
    go_on.set()
    thread.join()
    found = attributes_of("waiting thread")
    say(found)
    assert_close(found[DELTA], 8 * MIB, slack=16 * 1024)


def thread_without_a_last_look():
    """It allocates after its last look at the context, and is gone."""
    span = tracer.start_span("gone thread")

    def attach():
        context.attach(trace.set_span_in_context(span))
        library.PyMem_RawFree(library.PyMem_RawMalloc(10))

    blocks.append(call_and_leave(attach, 5 * MIB))
    span.end()
    found = attributes_of("gone thread")
    say(found)
    assert_close(found[DELTA], 5 * MIB, slack=16 * 1024)
    assert_close(found[PEAK], 5 * MIB, slack=16 * 1024)


base = _core.totals()[0]
for step, size in (
    (threads_that_end, 20 * MIB),
    (thread_that_waits, 8 * MIB),
    (thread_without_a_last_look, 5 * MIB),
):
    step()
    # The process's total keeps what threads of the past took.
    assert_close(_core.totals()[0] - base, size, slack=256 * 1024)
    free_all()
    assert abs(_core.totals()[0] - base) < 256 * 1024, _core.totals()[0] - base
