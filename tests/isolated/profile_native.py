# SPDX-License-Identifier: Apache-2.0
"""Blocks that are taken from RAW without the GIL are counted, and have no stack."""

from __future__ import annotations

import threading
from collections import defaultdict

from _profile import (
    Domain,
    assert_all_is_freed,
    assert_estimate,
    block_bytes,
    install,
    rows_by_name,
    run,
    say,
    span,
)

from otel_memory.heap import _core

RATE_BYTES = 512
SIZES = (600, 3_000)
COUNT = 2_000
THREADS = 4
ADDRESS_BYTES = 32  # the int that holds a block's address


def frames_by_name():
    """{span name: {whether there are frames: live bytes}}."""
    found = defaultdict(lambda: {True: 0, False: 0})
    for _sort, name, _kind, _entry, frames, live, *_ in _core.stacks(1_000):
        found[name][bool(frames)] += live
    return found


def take(domain, blocks, number):
    for at in range(COUNT * number, COUNT * (number + 1)):
        blocks[at % len(blocks)] = domain.malloc(SIZES[number % len(SIZES)])


def case_without_the_gil():
    """The same calls with the GIL have stacks; their sum is the row's, either way."""
    install()
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    # A CDLL lets go of the GIL around each call, a PyDLL does not.
    ways = {"without": Domain("raw", with_gil=False), "with": Domain("raw")}
    taken = {name: [None] * COUNT * len(SIZES) for name in ways}
    for name, domain in ways.items():
        with span(name):
            for number in range(len(SIZES)):
                take(domain, taken[name], number)
    check(taken, range(len(SIZES)))


def case_threads():
    """Eight threads at once, half of them without the GIL, each in a span of its own.

    The span of a call without the GIL is the one that its thread was in before.
    """
    install()
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    ways = {"without": Domain("raw", with_gil=False), "with": Domain("raw")}
    names = [f"{name} {number}" for name in ways for number in range(THREADS)]
    taken = {name: [None] * COUNT for name in names}

    def work(name):
        way, number = name.split()
        with span(name):
            take(ways[way], taken[name], int(number))

    threads = [threading.Thread(target=work, args=(name,)) for name in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(taken, None)


def check(taken, numbers):
    rows, frames = rows_by_name(), frames_by_name()
    for name, blocks in taken.items():
        which = [int(name.split()[1])] if numbers is None else numbers
        sizes = [
            block_bytes(SIZES[number % len(SIZES)])
            for number in which
            for _ in range(COUNT)
        ]
        sizes += [ADDRESS_BYTES] * len(blocks)
        say(name, dict(frames[name]))
        assert_estimate(rows[name], sizes, RATE_BYTES, name, share=0.2)
        assert abs(sum(frames[name].values()) - rows[name].live) <= len(frames[name])
        native = sum(block_bytes(SIZES[n % len(SIZES)]) for n in which) * COUNT
        if name.startswith("without"):
            assert abs(frames[name][False] - native) <= 0.15 * native, name
        else:
            assert frames[name][False] == 0, name
    raw = Domain("raw", with_gil=False)
    for blocks in taken.values():
        while blocks:
            raw.free(blocks.pop())
        blocks.clear()
    del blocks
    assert_all_is_freed("with")


if __name__ == "__main__":
    run(globals())
