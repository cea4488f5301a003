# SPDX-License-Identifier: Apache-2.0
"""Children are forked while threads allocate with and without the GIL.

Each reads its profiles, allocates, starts a thread, and forks once more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import warnings

from _fork import fork_and_wait, gate
from _stress import (
    SECONDS,
    Threads,
    install,
    read_all,
    rounds,
    span,
    thin_constantly,
)

from otel_memory.heap import _core

warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
raw = ctypes.CDLL(ctypes.pythonapi._name)
raw.PyMem_RawMalloc.restype = ctypes.c_void_p
raw.PyMem_RawFree.restype, raw.PyMem_RawFree.argtypes = None, (ctypes.c_void_p,)
stop = threading.Event()


def allocate(number):
    kept = []
    while not stop.is_set():
        with gate, span(f"fork {number}"):
            kept.append(bytearray(513))
            raw.PyMem_RawFree(raw.PyMem_RawMalloc(700))
        del kept[:-200]


def in_child(generation):
    signal.alarm(60)  # faulthandler's own thread is not in the child
    for row in read_all():
        assert row[4] == 0, row  # a child completes no span of its parent's
    with span("fork child"):
        kept = [bytearray(600) for _ in range(200)]
        thread = threading.Thread(target=read_all)
        thread.start()
        thread.join()
        thin_constantly()
        rows = read_all()
    assert any(row[0] == "span" for row in rows)
    del kept
    if generation:
        fork_and_wait(in_child, generation - 1)


install()
os.register_at_fork(after_in_child=_core.after_fork_in_child)
threads = Threads()
for number in range(4):
    threads.start(allocate, number)
forks = 0
try:
    for number in rounds(2 * SECONDS):
        with span("fork parent"):
            fork_and_wait(in_child, number % 2)
        forks += 1
        thin_constantly()
        read_all()
finally:
    stop.set()
threads.join()
print("forks:", forks)
assert [row[4] for row in read_all() if row[1] == "fork parent"] == [forks]
