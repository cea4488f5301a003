# SPDX-License-Identifier: Apache-2.0
"""Late finalizers and daemon threads at the end: exit code 0, and not a word.

What is checked is what the process leaves behind, so `test_cases` does it.
"""

from __future__ import annotations

import contextvars
import ctypes
import sys
import threading

from _tools import say, start
from opentelemetry import context, trace

from otel_memory import track_memory

tracer = start(interval_seconds=0.01, profile_interval_seconds=0.02)
library = ctypes.CDLL(None)  # lets go of the GIL
library.PyMem_RawMalloc.restype = ctypes.c_void_p
library.PyMem_RawMalloc.argtypes = [ctypes.c_size_t]
library.PyMem_RawFree.argtypes = [ctypes.c_void_p]


class Late:
    """Uses spans when modules are gone already."""

    def __init__(self):
        self.me = self
        self.tracer, self.span = tracer, tracer.start_span("late")
        self.attach, self.current = context.attach, trace.set_span_in_context
        self.bytearray = bytearray

    def __del__(self):
        self.payload = self.bytearray(300_000)
        with self.tracer.start_as_current_span("in __del__"):
            self.payload = self.bytearray(300_000)
        self.attach(self.current(self.span))
        self.span.end()


def allocate_for_ever(running):
    while True:
        with tracer.start_as_current_span("daemon"):
            kept = [bytearray(1000) for _ in range(100)]
            block = library.PyMem_RawMalloc(100_000)
            library.PyMem_RawFree(block)
        running.set()
        del kept


@track_memory
def endless():
    while True:
        yield bytearray(1000)


flags = [threading.Event() for _ in range(3)]
for flag in flags:
    threading.Thread(target=allocate_for_ever, args=(flag,), daemon=True).start()
for flag in flags:
    assert flag.wait(30)
sys.late_object = Late()  # goes with the last module
late_in_context = contextvars.ContextVar("late")
late_in_context.set(Late())
generator = endless()
next(generator)
open_span = tracer.start_as_current_span("never ended")
open_span.__enter__()
say("the end")
