# SPDX-License-Identifier: Apache-2.0
"""The profile is read 1,000 times at each of the moments at which that is hardest.

By row, by stack, and as the body of a profile event. `nox -s asan` runs this too.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import warnings

from _fork import fork_and_wait, gate
from _profile import (
    Domain,
    install,
    read_health,
    read_pairs,
    read_stacks,
    run,
    say,
    span,
)
from _stress import Threads

from otel_memory import profile
from otel_memory.heap import _core
from otel_memory.heap._native import NativeSource

ROUNDS = 1_000
CAPACITY = 256
PAUSE_SECONDS = 0.003
"""Of a thread now and then: the machine is to do the reading as well."""
SOURCES = []
raw = Domain("raw", with_gil=False)


def start():
    """Take so many samples that the table is thinned again and again."""
    install()
    SOURCES.append(NativeSource(sampling=True))
    thin_again()


def thin_again():
    _core.set_sampling(True, rate_bytes=64, capacity=CAPACITY)


def read(number=0):
    """Every reading there is; now and then look whether it can be true."""
    if number % 10:
        _core.pairs()
        _core.stacks(200)
        profile.take(SOURCES[0], 50)
        return
    read_pairs()
    read_stacks()
    health = read_health()
    assert health["live_samples"] <= 2 * CAPACITY, health
    body = json.loads(profile.take(SOURCES[0], 50))
    assert body["pairs"], body


def allocate(stop, number):
    """Blocks of a pool's, of RAW's, grown ones, and such that are never sampled."""
    kept = []
    turn = 0
    while not stop.is_set():
        turn += 1
        with gate, span(f"reader {number} {turn % 20}"):
            kept.append(bytearray(turn % 700))
            kept[-1].extend(b"x" * (turn % 300))
            kept.append([None] * (turn % 90))
            raw.free(raw.malloc(400 + turn % 400))
        if len(kept) > 60:
            del kept[:40]
            stop.wait(PAUSE_SECONDS)


@contextlib.contextmanager
def allocating(count):
    """So many threads, which give way often."""
    sys.setswitchinterval(1e-4)
    stop, threads = threading.Event(), Threads()
    for number in range(count):
        threads.start(allocate, stop, number)
    try:
        yield
    finally:
        stop.set()
        threads.join()
        sys.setswitchinterval(5e-3)


def case_while_threads_allocate():
    start()
    with allocating(8):
        for number in range(ROUNDS):
            read(number)
            if number % 20 == 0:
                thin_again()
    say(_core.health())
    assert _core.health()["thinned"] > CAPACITY


class Cycle:
    """Goes in a collection only, and reads then."""

    read = 0

    def __init__(self):
        self.me = self
        self.kept = [bytearray(600) for _ in range(3)]

    def __del__(self):
        Cycle.read += 1
        self.kept.append(bytearray(700))
        read(Cycle.read)


def case_during_collections():
    """In callbacks of the collector, in finalisers, and the collector within reading."""
    start()
    phases = []

    def in_collector(phase, info):
        phases.append(phase)
        read(len(phases))

    gc.callbacks.append(_core.gc_callback)
    gc.callbacks.append(in_collector)
    for number in range(ROUNDS):
        with span(f"cycle {number % 10}"):
            Cycle()
        gc.collect(number % 2)  # of the youngest; and they are not collected twice
        if number % 20 == 0:
            thin_again()
    for generation in (0, 1, 2):
        gc.collect(generation)
    gc.callbacks.remove(in_collector)
    say("finalisers:", Cycle.read, "callbacks:", len(phases), _core.health())
    assert Cycle.read == ROUNDS
    assert min(phases.count("start"), phases.count("stop")) >= ROUNDS
    gc.set_threshold(2, 2, 2)
    gc.enable()
    with allocating(2):  # the collector now starts wherever there is an object made
        for number in range(ROUNDS // 10):
            Cycle()
            read(number)
    gc.disable()


def in_child(rounds):
    signal.alarm(60)  # faulthandler's own thread is not in the child
    with span("reader child"):
        kept = [bytearray(600) for _ in range(50)]
    for number in range(rounds):
        read(number)
    thin_again()
    del kept
    threading.Thread(target=read).start()


def case_in_forked_children():
    """Children of a process whose threads allocate; each reads several times."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    start()
    rounds = 5
    with allocating(4):
        for _ in range(ROUNDS // rounds):
            fork_and_wait(in_child, rounds)
            thin_again()


class Late:
    """Goes when the interpreter takes itself apart; what it needs it holds itself."""

    def __init__(self):
        self.me = self
        self.core = _core

    def __del__(self):
        self.core.pairs()
        self.core.stacks(200)
        self.core.health()


def allocate_for_ever(ready):
    kept = []
    ready.wait()
    while True:
        with span("daemon"):
            kept.append(bytearray(513))
            kept.append([None] * 70)
            raw.free(raw.malloc(700))
        del kept[:-50]


def case_at_exit(rounds):
    """Children that end as interpreters do, with daemon threads, and read at that."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    start()
    faulthandler.cancel_dump_traceback_later()  # its end hangs in a forked child
    sys.setswitchinterval(1e-4)
    atexit.register(read)
    for _ in range(int(rounds)):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            ready = threading.Barrier(3)
            for _ in range(2):
                threading.Thread(
                    target=allocate_for_ever, args=(ready,), daemon=True
                ).start()
            ready.wait()
            sys.late = Late()
            return  # to the end of the script, and of the interpreter
        assert os.waitpid(child, 0)[1] == 0, "a child crashed"
    say(rounds, "ends")


if __name__ == "__main__":
    run(globals())
