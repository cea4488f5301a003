# SPDX-License-Identifier: Apache-2.0
"""A forked child has its parent's blocks, with their samples, and then its own."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import warnings

from _fork import fork_and_wait, gate
from _profile import (
    KIB,
    Domain,
    assert_all_is_freed,
    assert_estimate,
    block_bytes,
    fill,
    install,
    read_health,
    read_pairs,
    read_stacks,
    rows_by_name,
    run,
    say,
    span,
)
from _stress import Threads

from otel_memory.heap import _core

FORKS = 200
THREADS = 4
PAUSE_SECONDS = 0.003
"""Of a thread now and then: the machine is to do the forking as well."""
RATE_BYTES = KIB
SIZES = (67, 2_967)  # a pool's and RAW's; 33 bytes more with the head of bytes
COUNT = 1_000
SIGMAS = 8
"""Of 200 children none is to be beyond this by chance."""
HELD = [block_bytes(size + 33) for size in SIZES] * (COUNT // len(SIZES))


def pieces(number):
    return bytes(SIZES[number % len(SIZES)])


def allocate(stop, number):
    raw = Domain("raw", with_gil=False)
    kept = []
    while not stop.is_set():
        with gate, span(f"thread {number}"):
            kept.append(bytearray(513))
            raw.free(raw.malloc(700))
        if len(kept) > 60:
            del kept[:40]
            stop.wait(PAUSE_SECONDS)


def in_child(inherited, before, own):
    signal.alarm(60)  # faulthandler's own thread is not in the child
    rows = rows_by_name()
    assert rows["inherited"][1:] == before, (rows["inherited"], before)
    with span("own"):
        fill(own, pieces)
    gc.collect()
    row = rows_by_name()["own"]
    # 1,000 blocks of which half are sampled nearly always: sigma is 1.1 %.
    assert_estimate(row, HELD, RATE_BYTES, "own", share=0.1, sigmas=SIGMAS)
    own.clear()
    assert_all_is_freed("own")
    assert rows_by_name()["inherited"][1:] == before
    inherited.clear()
    assert_all_is_freed("inherited")
    read_pairs()
    read_stacks()
    read_health()


def in_quiet_child(*arguments):
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        in_child(*arguments)


def case_inherited():
    """200 children of a process whose threads allocate, with and without the GIL."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    install(rate_bytes=RATE_BYTES)
    os.register_at_fork(after_in_child=_core.after_fork_in_child)
    inherited, own = [None] * COUNT, [None] * COUNT
    with span("inherited"):
        fill(inherited, pieces)
    gc.collect()  # what lies in a free list would be taken by `row`
    row = rows_by_name()["inherited"]
    assert_estimate(row, HELD, RATE_BYTES, "inherited", share=0.1)
    stop, threads = threading.Event(), Threads()
    for number in range(THREADS):
        threads.start(allocate, stop, number)
    try:
        for _ in range(FORKS):
            fork_and_wait(in_quiet_child, inherited, row[1:], own)
            # What the child bore and freed is not the parent's to know.
            rows = rows_by_name()
            assert rows["inherited"] == row, rows
            assert "own" not in rows, rows
    finally:
        stop.set()
        threads.join()
    say(_core.health())
    assert rows_by_name()["inherited"] == row
    assert _core.health()["thinned"] == _core.health()["dropped"] == 0
    inherited.clear()
    assert_all_is_freed(("inherited", "thread"))


if __name__ == "__main__":
    run(globals())
