# SPDX-License-Identifier: Apache-2.0
"""Sizes are exact, to the byte: pools, RAW blocks, and every way between them.

Drives the allocators by ctypes. The model below says where CPython puts a block:
requests of 1 to 512 bytes in a pool of their class, the rest in RAW; a RAW block
stays RAW whatever it becomes; a pool block that loses a quarter or less stays.
"""

from __future__ import annotations

import ctypes
import gc
import os

from _tools import MIB, core_pairs, say, start

from otel_memory.heap import _core

BLOCKS = 200
NOISE = 1024  # integers, and caches of 3.10's interpreter; 5 bytes a block
SIZES = (0, 1, 16, 17, 100, 383, 385, 500, 512, 513, 600, 5_000, 300_000)

tracer = start(sampling=True)
_core.set_sampling(True, rate_bytes=32 * 1024, seed=7)
has_pools = os.environ.get("PYTHONMALLOC") != "malloc"

usable_size = ctypes.CDLL(None).malloc_usable_size
usable_size.restype, usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]


class Domain:
    """One of PyMem's three, and the blocks that it handed out."""

    def __init__(self, prefix):
        word, size = ctypes.c_void_p, ctypes.c_size_t
        api = ctypes.pythonapi
        self.malloc = self._function(api, f"{prefix}Malloc", word, size)
        self.calloc = self._function(api, f"{prefix}Calloc", word, size, size)
        self.realloc = self._function(api, f"{prefix}Realloc", word, word, size)
        self.free = self._function(api, f"{prefix}Free", None, word)
        self.pools = has_pools and prefix != "PyMem_Raw"
        self.prefix = prefix
        self.blocks = (ctypes.c_void_p * BLOCKS)()
        self.is_pool, self.class_bytes = False, 0

    @staticmethod
    def _function(api, name, result, *arguments):
        function = getattr(api, name)
        function.restype, function.argtypes = result, arguments
        return function

    def place(self, request):
        self.is_pool = self.pools and 1 <= request <= 512
        self.class_bytes = (request + 15) // 16 * 16

    def place_again(self, request):
        if not self.is_pool and self.pools:
            return  # RAW stays RAW
        if self.is_pool and request <= self.class_bytes < request / 3 * 4:
            return
        self.place(request)

    def bytes(self):
        if self.is_pool:
            return BLOCKS * self.class_bytes
        return sum(usable_size(block) for block in self.blocks)


def expect(base, domain, what):
    found, expected = _core.totals()[0] - base, domain.bytes()
    if what is None:
        return
    assert abs(found - expected) <= NOISE, (domain.prefix, what, found, expected)


def each_way(domain, sizes=SIZES, warms_up=False):
    makers = (
        ("malloc", domain.malloc),
        ("calloc", lambda size: domain.calloc(1, size)),
        ("realloc(NULL)", lambda size: domain.realloc(None, size)),
    )
    for name, make in makers:
        for first in sizes:
            for second in sizes:
                base = _core.totals()[0]
                blocks, realloc = domain.blocks, domain.realloc
                for i in range(BLOCKS):
                    blocks[i] = make(first)
                domain.place(first)
                expect(base, domain, None if warms_up else (name, first))
                for i in range(BLOCKS):
                    blocks[i] = realloc(blocks[i], second)
                domain.place_again(second)
                expect(base, domain, None if warms_up else (name, first, second))
                for i in range(BLOCKS):
                    domain.free(blocks[i])
                found = _core.totals()[0] - base
                assert warms_up or abs(found) <= NOISE, (name, first, second, found)


def python_objects_around_512():
    """byte arrays and lists that grow and shrink over the border, in place or not."""
    kept = [bytearray(b"x" * 400) for _ in range(1000)]
    lists = [[] for _ in range(1000)]
    for _ in range(20):
        for each in kept:
            each.extend(b"y" * 400)
        for each in kept:
            del each[100:]
        for each in kept:
            each.extend(b"z" * 300)
        for each in lists:
            each.extend([None] * 80)
        for each in lists:
            del each[4:]
        for each in lists:
            each.clear()


def growth_is_what_was_added(domain):
    """A block that grows, from a pool to RAW too, was not allocated once more."""
    for i in range(BLOCKS):
        domain.blocks[i] = domain.malloc(512)
    domain.place(512)
    before, base = domain.bytes(), _core.totals()[1]
    for i in range(BLOCKS):
        domain.blocks[i] = domain.realloc(domain.blocks[i], 5_000)
    domain.place_again(5_000)
    added = _core.totals()[1] - base
    expected = domain.bytes() - before
    say(domain.prefix, "added", added, expected)
    assert 0 <= added - expected < BLOCKS * 400  # ctypes' own objects
    for i in range(BLOCKS):
        domain.free(domain.blocks[i])


gc.collect()
gc.disable()  # garbage of the imports would be freed in the middle of a measurement
for prefix in ("PyMem_Raw", "PyMem_", "PyObject_"):
    growth_is_what_was_added(Domain(prefix))
    each_way(Domain(prefix), sizes=(0, 16, 600), warms_up=True)
    with tracer.start_as_current_span(prefix):
        each_way(Domain(prefix))

for _ in range(3):  # the interpreter's own caches fill meanwhile
    python_objects_around_512()
before = _core.totals()[0]
for _ in range(3):
    python_objects_around_512()
after = _core.totals()[0]
say("left after resizing objects", after - before)
assert abs(after - before) < 2048, after - before
rows = core_pairs()
for prefix in ("PyMem_Raw", "PyMem_", "PyObject_"):
    say(rows[("span", prefix)])
    assert rows[("span", prefix)].live < MIB // 4, rows[("span", prefix)]
    assert rows[("span", prefix)].allocated > 100 * MIB
