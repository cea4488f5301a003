# SPDX-License-Identifier: Apache-2.0
"""What a full collection frees was others' garbage; it is nobody's gain."""

from __future__ import annotations

import gc

from _tools import (
    ALLOCATED,
    DELTA,
    MIB,
    PEAK,
    assert_close,
    attributes_of,
    core_pairs,
    say,
    start,
)

tracer = start()
kept = []


class Node:
    def __init__(self, size, when_freed=0):
        self.me = self
        self.payload = bytearray(size)
        self.when_freed = when_freed

    def __del__(self):
        if self.when_freed:
            kept.append(bytearray(self.when_freed))


gc.collect()
gc.disable()
with tracer.start_as_current_span("leaves garbage"):
    Node(20 * MIB)
with tracer.start_as_current_span("collects all"):
    kept.append(bytearray(2 * MIB))
    gc.collect()
    kept.append(bytearray(3 * MIB))
for name, expected in (("leaves garbage", 20), ("collects all", 5)):
    found = attributes_of(name)
    say(name, found)
    for figure in (DELTA, PEAK, ALLOCATED):
        assert_close(found[figure], expected * MIB, slack=64 * 1024)

with tracer.start_as_current_span("makes and collects young"):
    Node(20 * MIB)
    gc.collect(0)
found = attributes_of("makes and collects young")
say(found)
assert abs(found[DELTA]) < 64 * 1024
assert_close(found[PEAK], 20 * MIB, slack=64 * 1024)

# What finalizers allocate meanwhile is the collection's too.
with tracer.start_as_current_span("finalizes"):
    Node(20 * MIB, when_freed=7 * MIB)
    gc.collect()
    kept.append(bytearray(1 * MIB))
found = attributes_of("finalizes")
say(found)
assert_close(found[ALLOCATED], 21 * MIB, slack=64 * 1024)
row = core_pairs()[("gc", "(gc)")]
say(row)
assert_close(row.allocated, 7 * MIB, slack=64 * 1024)

# The same from another thread's point of view is in case_generator_in_collection.
gc.enable()
gc.collect()
