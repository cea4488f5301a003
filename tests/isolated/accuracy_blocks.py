# SPDX-License-Identifier: Apache-2.0
"""One span and objects of known size, kept or freed: all figures are right."""

from __future__ import annotations

import sys
from itertools import repeat

from _accuracy import (
    EMPTY_SPAN_BYTES,
    Expected,
    assert_all_freed,
    check,
    live_of,
    run,
    size_in_heap,
    warm_up,
)
from _tools import DELTA, assert_close, attributes_of, say, start

from otel_memory.heap import _core

FREED_BYTES = 500
"""How far from zero the delta may be once all is freed."""
RATE_BYTES = 4 * 1024
COUNT = 100_000
RAW_TEXT = b"forty-eight bytes of text, which is not shared."

kept = {}


def pointers():
    return [None] * 20_000_000


def growing_list():
    made = []
    for _ in repeat(None, 5_000_000):
        made.append(None)
    return made


def growing_dict():
    made = {}
    for number in range(300_000):
        made[str(number)] = None
    return made


def large_bytes():
    return bytes(100_000_000)


def objects():
    return [object() for _ in repeat(None, COUNT)]


def strings():
    return [RAW_TEXT.decode("ascii") for _ in repeat(None, COUNT)]


def thousand_bytes():
    return [bytes(1_000) for _ in repeat(None, 1_000)]


def size_of(made):
    """All of it: what holds the items, and the items that are not None."""
    return sys.getsizeof(made) + sum(
        size_in_heap(item) for item in (made if hasattr(made, "__iter__") else ())
    )


def size_alone(made):
    return sys.getsizeof(made)


def nothing(made):
    return 0


def tables_and_numbers(made):
    """A dict's smaller tables, at most as much again; two numbers for a string."""
    return sys.getsizeof(made) + 2 * 32 * len(made)


KINDS = {
    # name: (how it is made, its size, what is also allocated and freed on the way)
    "pointers": (pointers, size_alone, nothing),
    "growing_list": (growing_list, size_alone, nothing),
    "growing_dict": (growing_dict, size_of, tables_and_numbers),
    "large_bytes": (large_bytes, size_alone, nothing),
    "objects": (objects, size_of, nothing),
    "strings": (strings, size_of, nothing),
    "thousand_bytes": (thousand_bytes, size_of, nothing),
}


def case_kept(kind):
    make, size_of, on_the_way = KINDS[kind]
    tracer = start()
    warm_up(tracer, make)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    with tracer.start_as_current_span("keeps"):
        kept["it"] = make()
    size, churn = size_of(kept["it"]), on_the_way(kept["it"])
    check("keeps", Expected(size, size, size), churn=churn + EMPTY_SPAN_BYTES)
    alive, samples = live_of("keeps")
    say("live", alive, "samples", samples)
    # A single large block is one sample and weighs what it is; else chance decides,
    # and six standard deviations are allowed. They follow from what is known: samples
    # are fewer where the estimate is low.
    share = 0.01 if samples == 1 else 6 * (RATE_BYTES / size) ** 0.5
    assert_close(alive, size, share=share)
    kept.clear()
    assert_all_freed("keeps")


def case_freed(kind):
    make, size_of, on_the_way = KINDS[kind]
    tracer = start()
    warm_up(tracer, make)
    made = make()
    size, churn = size_of(made), on_the_way(made)
    del made
    with tracer.start_as_current_span("frees"):
        made = make()
        del made
    check("frees", Expected(0, size, size), churn=churn + EMPTY_SPAN_BYTES)
    assert abs(attributes_of("frees")[DELTA]) <= FREED_BYTES
    assert_all_freed("frees")


def case_freed_by_another_span(kind):
    """Delta is what the heap lost while a span was current; live is by birth."""
    make, size_of, _ = KINDS[kind]
    tracer = start()
    warm_up(tracer, make)
    with tracer.start_as_current_span("keeps"):
        made = make()
    size = size_of(made)
    with tracer.start_as_current_span("frees"):
        del made
    check("frees", Expected(-size, 0, 0))
    assert_all_freed("keeps")
    assert_all_freed("frees")


if __name__ == "__main__":
    run(globals())
