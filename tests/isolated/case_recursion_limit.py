# SPDX-License-Identifier: Apache-2.0
"""At a nearly full recursion limit nothing of ours raises, and counts stay right.

A look-up in a context of many variables may compare keys, which needs a level.
"""

from __future__ import annotations

import contextvars
import sys

from _tools import DELTA, assert_close, attributes_of, core_pairs, say, start
from opentelemetry import context, trace

BLOCK = 4096
RUNS = 60

tracer = start()


def fill(some):
    """With other variables in each run, for it is their hashes that matter."""
    variables = [contextvars.ContextVar(f"v{i}") for i in range(500)]
    for variable in variables:
        some.run(variable.set, variable)


class Tally:
    def __init__(self):
        self.inside, self.outside, self.kept = 0, 0, []

    def allocate_inside(self):
        self.kept.append(bytearray(BLOCK))
        self.inside += 1

    def allocate_outside(self):
        self.kept.append(bytearray(BLOCK))
        self.outside += 1


def dive(tally, inside, outside):
    inside.run(tally.allocate_inside)
    outside.run(tally.allocate_outside)
    dive(tally, inside, outside)


def step_down(levels, function):
    return function() if levels == 0 else step_down(levels - 1, function)


def run(number):
    outside = contextvars.Context()  # no span in it, so the look-up is a miss
    fill(outside)
    tally = Tally()
    # All that the span gets happens in a copy of its context.
    with tracer.start_as_current_span(f"run {number}"):
        inside = contextvars.copy_context()
        fill(inside)
        tally.kept = [None] * 2000
        tally.kept.clear()
    messages = []

    def bottom():
        try:
            dive(tally, inside, outside)
        except RecursionError as error:
            messages.append(str(error))

    span = tracer.start_span(f"dive {number}")
    inside.run(context.attach, trace.set_span_in_context(span))
    step_down(number % 7, bottom)
    span.end()
    assert messages, "the limit was not reached"
    assert "comparison" not in messages[0], messages
    found = attributes_of(f"dive {number}")[DELTA]
    expected = tally.inside * (BLOCK + 16)
    assert tally.inside - tally.outside in (0, 1), (tally.inside, tally.outside)
    assert tally.inside > 50, tally.inside
    # The byte arrays' own objects, and the list that grows.
    assert_close(found, expected + tally.inside * 64, slack=2 * 8 * 2000)
    return tally.inside


sys.setrecursionlimit(400)
depths = [run(number) for number in range(RUNS)]
say("allocations a run:", min(depths), max(depths))
before = core_pairs()[("no-span", "(no span)")].allocated
assert before >= sum(depths) * BLOCK * 0.9
