# SPDX-License-Identifier: Apache-2.0
"""Eight threads take, resize and free blocks of all sizes, also each other's.

Meanwhile sampling is thinned all the time and profiles are read.
"""

from __future__ import annotations

import ctypes
import random
from collections import deque

from _stress import (
    KIB,
    SIZES,
    Threads,
    assert_nothing_lives,
    install,
    rounds,
    span,
    switch_about,
)

from otel_memory.heap import _core

THREADS = 8
HELD = 300


def functions(prefix):
    """malloc, calloc, realloc, free of one domain. The GIL is held."""
    api, word, size = ctypes.pythonapi, ctypes.c_void_p, ctypes.c_size_t
    found = []
    for name, result, arguments in (
        ("Malloc", word, (size,)),
        ("Calloc", word, (size, size)),
        ("Realloc", word, (word, size)),
        ("Free", None, (word,)),
    ):
        function = getattr(api, prefix + name)
        function.restype, function.argtypes = result, arguments
        found.append(function)
    return found


DOMAINS = [functions(prefix) for prefix in ("PyMem_Raw", "PyMem_", "PyObject_")]
exchange = deque()
objects = deque()


def blocks(number):
    """Blocks of the three domains, which may be freed by another thread."""
    chance = random.Random(number)
    with span(f"blocks {number}"):
        for _ in rounds():
            domain = chance.randrange(3)
            malloc, calloc, realloc, free = DOMAINS[domain]
            if chance.random() < 0.3:
                block = calloc(chance.choice((1, 2, 3)), chance.choice(SIZES))
            else:
                block = malloc(chance.choice(SIZES))
            assert block
            ctypes.memset(block, 7, 1)
            for _ in range(chance.randrange(4)):
                block = realloc(block, chance.choice(SIZES))
                assert block
            exchange.append((free, block))
            while len(exchange) > HELD:
                try:
                    free, block = exchange.popleft()
                except IndexError:
                    break
                free(block)
    while exchange:
        try:
            free, block = exchange.popleft()
        except IndexError:
            break
        free(block)


def python_objects(number):
    """Objects that grow and shrink over the border of 512 bytes."""
    chance = random.Random(number)
    own = []
    for turn in rounds():
        with span(f"objects {number}", turn % 5):
            own.append(bytearray(chance.choice(SIZES)))
            each = own[chance.randrange(len(own))]
            each.extend(b"x" * chance.choice(SIZES[:14]))
            del each[chance.randrange(len(each) + 1) :]
            own.append(list(range(chance.randrange(140))))
            own[-1].extend(own[-1])
            own.append({key: str(key) for key in range(chance.randrange(40))})
            own = [thing for thing in own if isinstance(thing, bytearray)]
            objects.append(own.pop())
            if len(own) > HELD:
                own.clear()
        while len(objects) > HELD:
            objects.popleft()


install()
before = _core.totals()[0]
threads = Threads()
for number in range(THREADS // 2):
    threads.start(blocks, number)
    threads.start(python_objects, number)
switch_about()
threads.join()
objects.clear()
assert not exchange
assert_nothing_lives(before, ("blocks", "objects"), 512 * KIB)
