# SPDX-License-Identifier: Apache-2.0
"""Profiles are read, and rows retired, wherever Python code can run.

Reading allocates: the collector starts inside it, and finalisers, callbacks of the
collector and other threads read, begin, finish and retire in the middle of it.
"""

from __future__ import annotations

import contextvars
import gc

from _stress import (
    KIB,
    Threads,
    assert_nothing_lives,
    install,
    read_all,
    rounds,
    span,
    switch_about,
)

from otel_memory.heap import _core

inside = False


class Reader:
    def __init__(self):
        self.me = self

    def __del__(self):
        retire_everything()
        read_all()


def retire_everything():
    for sort, name, kind, entry, *_ in _core.pairs():
        if sort in ("span", "after-end"):
            _core.retire_pair(sort, name, kind, entry)


def in_collector(phase, info):
    global inside
    if inside:
        return
    inside = True
    try:
        retire_everything()
        # Up to 3.11 the collector may run within ContextVar.set, which does not
        # survive that somebody sets a variable of the same context.
        contextvars.copy_context().run(read_in_span, f"reader {phase}")
    finally:
        inside = False


def read_in_span(name):
    with span(name):
        read_all()


def allocate(number):
    kept = []
    for turn in rounds():
        with span(f"reader {number} {turn % 50}", turn % 5):
            kept.append(bytearray(turn % 700))
            if turn % 20 == 0:
                Reader()
        del kept[:-100]


install()
before = _core.totals()[0]
threads = Threads()
gc.callbacks.append(in_collector)
gc.set_threshold(5, 2, 2)
for number in range(3):
    threads.start(allocate, number)
switch_about()
threads.join()
gc.callbacks.remove(in_collector)
gc.set_threshold(700, 10, 10)

# The table of rows overflows: what comes then goes to (other).
names = [f"name {number}" for number in range(5000)]
for name in names:
    with span(name):
        bytearray(600)
rows = read_all()
assert _core.health()["pairs"] < 4200, _core.health()
assert any(row[0] == "other" and row[4] > 0 for row in rows)
retire_everything()
assert not [row for row in read_all() if row[0] == "span" and row[4] > 0]
del names, rows
assert_nothing_lives(before, "reader", 512 * KIB)
