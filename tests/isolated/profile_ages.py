# SPDX-License-Identifier: Apache-2.0
"""How old live blocks are: in seconds, and in spans of their name completed since.

Called with the path of `clock_ahead`, which is preloaded, so that hours pass at once,
and with the age of the machine, whose clock begins when it is started. Blocks are so
much larger than R that each is sampled and weighs what it is: nothing is left to chance.
"""

from __future__ import annotations

import ctypes
import sys
import time

from _profile import (
    assert_all_is_freed,
    block_bytes,
    install,
    read_stacks,
    say,
    span,
)

from otel_memory.heap import _core
from otel_memory.semconv import AGE_EDGES_SECONDS

RATE_BYTES = 64
BLOCK_REQUEST_BYTES = 100_000
BLOCK_BYTES = block_bytes(BLOCK_REQUEST_BYTES + 33)
MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
UPTIMES_SECONDS = {"young": 1_000, "old": 30 * 24 * HOUR_SECONDS}
CLOCK_MONOTONIC_COARSE = 6
clock = ctypes.CDLL(sys.argv[2])


def pass_seconds(seconds):
    clock.put_ahead(ctypes.c_long(seconds))


def start():
    """Hook the allocators on a machine that has been up for so long."""
    now_seconds = int(time.clock_gettime(CLOCK_MONOTONIC_COARSE))
    pass_seconds(UPTIMES_SECONDS[sys.argv[3]] - now_seconds)
    install()


def complete(name, count):
    for _ in range(count):
        with span(name):
            pass


def bear():
    """From one line, so that all blocks of a span name are one row."""
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    bytes(BLOCK_REQUEST_BYTES)  # the first after a change is not sampled
    block = bytes(BLOCK_REQUEST_BYTES)
    _core.set_sampling(False)
    return block


def bear_in(name):
    with span(name):
        return bear()


def row_of(name):
    """The row of the blocks; small things of the span's have rows of their own."""
    rows = [row for row in read_stacks(1_000) if row.name == name]
    row = max(rows, key=lambda row: row.live_bytes)
    say(name, row[5:])
    assert row.frames[0][2] == "bear"
    assert row.live_bytes == row.samples * BLOCK_BYTES
    return row


def case_completed_since():
    """What completed before the birth does not count, and all that came later does."""
    start()
    complete("leak", 700)
    pass_seconds(HOUR_SECONDS)
    kept = bear_in("leak")  # its own span completes, after the birth
    pass_seconds(1)
    complete("leak", 1_000)
    row = row_of("leak")
    assert row.completed_mean == 1_001, row
    # The clock itself goes on meanwhile.
    assert 1 <= row.age_mean_seconds < 30, row
    pass_seconds(5 * HOUR_SECONDS)
    complete("leak", 500)
    row = row_of("leak")
    assert row.completed_mean == 1_501, row
    assert 5 * HOUR_SECONDS <= row.age_seconds < 5 * HOUR_SECONDS + 60, row
    # Other names complete for themselves.
    complete("another", 1_000)
    assert row_of("leak").completed_mean == 1_501
    del kept
    assert_all_is_freed("leak")


def case_by_age():
    """A block a minute for three hours: each stands between the right edges."""
    start()
    minutes = 180
    kept = []
    for _ in range(minutes):
        kept.append(bear_in("leak"))
        pass_seconds(MINUTE_SECONDS - 1)
        complete("leak", 9)
        pass_seconds(1)
    row = row_of("leak")
    assert row.samples == minutes
    ages = [MINUTE_SECONDS * (minute + 1) for minute in range(minutes)]
    edges = (0, *AGE_EDGES_SECONDS, 10**9)
    # The clock itself goes on a little: a block beside an edge may be beyond it.
    for low, high, found in zip(
        edges[:-1], edges[1:], row.live_bytes_by_age, strict=True
    ):
        held = sum(low <= age < high for age in ages) * BLOCK_BYTES
        say(low, high, found, "of", held)
        assert abs(found - held) <= BLOCK_BYTES
    mean = sum(ages) / minutes
    assert mean <= row.age_mean_seconds < mean + 30, (row, mean)
    assert max(ages) <= row.age_seconds < max(ages) + 30, row
    # Ten spans a minute complete. Evenly, so that what is known of the past by
    # moments at fourfold distances is known of all of it, up to its steps.
    completed = 10 * (minutes + 1) / 2
    assert abs(row.completed_mean - completed) <= 0.05 * completed, (row, completed)
    kept.clear()
    assert_all_is_freed("leak")


def case_old_and_growing():
    """It stands apart from young and busy, though both hold the same."""
    start()
    cache, leak, count = [], [], 60
    for number in range(10 * count):
        cache.append(bear_in("young and busy"))
        del cache[:-count]
        complete("young and busy", 9)
        if number % 10 == 0:
            leak.append(bear_in("old and growing"))
        complete("old and growing", 9)
        pass_seconds(2)
    young, old = row_of("young and busy"), row_of("old and growing")
    assert young.live_bytes == old.live_bytes == count * BLOCK_BYTES
    assert young.age_seconds < 2 * count + 30, young
    assert young.completed_mean < 10 * count, young
    assert old.age_mean_seconds > 4 * young.age_mean_seconds, (old, young)
    assert old.completed_mean > 4 * young.completed_mean, (old, young)
    assert sum(young.live_bytes_by_age[2:]) < young.live_bytes, young
    assert sum(old.live_bytes_by_age[2:]) > old.live_bytes / 2, old


def case_steps():
    """A tick is a sixteenth of a second: births before and after are told apart.

    Long ago the steps are longer, and never more than four times the age: what
    completed in a burst of a second, hours before the birth, does not count.
    """
    start()
    kept = []
    for hours in (0, 1, 3, 9):
        pass_seconds(hours * HOUR_SECONDS)
        complete("leak", 1_000)
        pass_seconds(1)
    pass_seconds(6 * HOUR_SECONDS)
    kept.append(bear_in("leak"))
    for elapsed_seconds in (1, 10, 100, 1_000, 10_000):
        pass_seconds(elapsed_seconds)
        complete("leak", 100)
    row = row_of("leak")
    # 500 and its own since; 4,000 before.
    assert 501 <= row.completed_mean < 501 + 1_000, row


if __name__ == "__main__":
    globals()[sys.argv[1]]()
