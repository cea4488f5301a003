# SPDX-License-Identifier: Apache-2.0
"""RAW is used without the GIL by eight threads, and blocks change hands."""

from __future__ import annotations

import ctypes
import random
from collections import deque

from _stress import (
    SIZES,
    Threads,
    assert_nothing_lives,
    install,
    rounds,
    span,
    switch_about,
)

from otel_memory.heap import _core

# Unlike ctypes.pythonapi a CDLL lets go of the GIL around each call.
raw = ctypes.CDLL(ctypes.pythonapi._name)
word, size = ctypes.c_void_p, ctypes.c_size_t
raw.PyMem_RawMalloc.restype, raw.PyMem_RawMalloc.argtypes = word, (size,)
raw.PyMem_RawCalloc.restype, raw.PyMem_RawCalloc.argtypes = word, (size, size)
raw.PyMem_RawRealloc.restype, raw.PyMem_RawRealloc.argtypes = word, (word, size)
raw.PyMem_RawFree.restype, raw.PyMem_RawFree.argtypes = None, (word,)
exchange = deque()


def use_raw(number):
    chance = random.Random(number)
    with span(f"raw {number}"):
        for _ in rounds():
            if chance.random() < 0.5:
                block = raw.PyMem_RawMalloc(chance.choice(SIZES))
            else:
                block = raw.PyMem_RawCalloc(1, chance.choice(SIZES))
            assert block
            while chance.random() < 0.6:
                block = raw.PyMem_RawRealloc(block, chance.choice(SIZES))
                assert block
            exchange.append(block)
            free_down_to(200)


def free_down_to(left):
    while len(exchange) > left:
        try:
            block = exchange.popleft()
        except IndexError:
            return
        raw.PyMem_RawFree(block)


install()
before = _core.totals()[0]
threads = Threads()
for number in range(8):
    threads.start(use_raw, number)
switch_about()
threads.join()
free_down_to(0)
assert_nothing_lives(before, "raw")
