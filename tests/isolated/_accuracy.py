# SPDX-License-Identifier: Apache-2.0
"""What the accuracy scripts share: blocks of known size, and what they must show.

A script is called with the name of one of its cases (functions named `case_…`).
"""

from __future__ import annotations

import logging
import sys
from typing import NamedTuple

from _profile import LEFT_SAMPLES
from _tools import ALLOCATED, DELTA, OWN, PEAK, assert_close, attributes_of, say

from otel_memory.heap import _core

STEP_BYTES = 100_000
EMPTY_SPAN_BYTES = 2_000
"""What making a span current costs: an OpenTelemetry context, a generator."""

warnings = []


class _Keep(logging.Handler):
    def emit(self, record):
        warnings.append(self.format(record))


class Expected(NamedTuple):
    """Figures of a span that took and gave back steps of known size."""

    delta: int
    peak: int
    allocated: int


def block():
    """One step's worth of memory; 33 bytes are the object's head."""
    return bytes(STEP_BYTES - 33)


def size_in_heap(thing):
    """What an allocator takes for an object that is one block.

    Up to 512 bytes pymalloc rounds to 16; beyond, libc rounds with a head of 8.
    """
    size = sys.getsizeof(thing)
    return (size + 15) & ~15 if size <= 512 else ((size + 8 + 15) & ~15) - 8


def plan_of(number):
    """How many steps the worker of this number does, and which it gives back."""
    steps = 10 + number % 7
    return [step % (2 + number % 3) == 1 for step in range(steps)]


def expected_of(plan):
    """What a worker must show that takes a step, waits, and may give one back."""
    delta = peak = 0
    for gives_back in plan:
        delta += STEP_BYTES
        peak = max(peak, delta)
        delta -= STEP_BYTES * gives_back
    return Expected(delta, peak, STEP_BYTES * len(plan))


def check(name, expected, *, slack=EMPTY_SPAN_BYTES, churn=None):
    """Compare a span's attributes with what is known.

    `slack` is for delta and peak; `churn` for allocated, which never falls and so
    holds each small thing that the runtime made on the way.
    """
    shown = attributes_of(name)
    say(name, {key: value for key, value in shown.items() if "heap" in key}, expected)
    assert_close(shown[DELTA], expected.delta, slack)
    assert_close(shown[PEAK], expected.peak, slack)
    assert_close(
        shown[ALLOCATED], expected.allocated, slack if churn is None else churn
    )
    assert shown[OWN] <= shown[ALLOCATED]
    return shown


def run(namespace):
    """Run the case that the command line names."""
    name, *arguments = sys.argv[1:]
    handler = _Keep(logging.WARNING)
    logging.getLogger("otel_memory").addHandler(handler)
    namespace[f"case_{name}"](*arguments)
    assert warnings == [], warnings


def live_of(*names):
    """Bytes and samples of all rows of these names, those after the end included."""
    rows = [row for row in _core.pairs() if row[1] in names]
    return sum(row[7] for row in rows), sum(row[8] for row in rows)


def assert_all_freed(*names):
    """Nothing that these spans bore is live, but what the interpreter itself keeps."""
    live_bytes, samples = live_of(*names)
    assert samples <= LEFT_SAMPLES, (live_bytes, samples)


def warm_up(tracer, make):
    """Do it once before it counts.

    What the interpreter then keeps for itself (free lists, frames of 3.10, the
    allocator's own tables of 128 KiB) is not the object's.
    """
    for _ in range(2):
        with tracer.start_as_current_span("warm-up"):
            made = make()
            del made
