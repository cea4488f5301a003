# SPDX-License-Identifier: Apache-2.0
"""A loop of reference cycles peaks at what is resident, not at all it ever made."""

from __future__ import annotations

import ctypes
import gc

from _tools import ALLOCATED, DELTA, MIB, PEAK, attributes_of, rss_bytes, say, start

tracer = start()
ROUNDS, BLOCK = 60_000, 10_000


class Node:
    def __init__(self):
        self.me = self
        self.payload = b"x" * BLOCK


with tracer.start_as_current_span("warm-up"):
    Node()
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # what is free and resident would hide the growth
before = highest = rss_bytes()
with tracer.start_as_current_span("cycles"):
    for number in range(ROUNDS):
        Node()
        if number % 50 == 0:
            highest = max(highest, rss_bytes())
found = attributes_of("cycles")
say(found, "resident", highest - before)
assert found[ALLOCATED] > 0.99 * ROUNDS * BLOCK
assert found[PEAK] <= 2 * (highest - before) + MIB
assert found[PEAK] >= (highest - before) / 2 - MIB
assert abs(found[DELTA]) <= found[PEAK]
