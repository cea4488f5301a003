# SPDX-License-Identifier: Apache-2.0
"""What the scripts `stress_*.py` share. They use the counting core without an SDK."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import threading
import time
from importlib import _bootstrap

from otel_memory.heap import _core

KIB = 1024
SECONDS = 2.0
"""How long one part of a script goes on."""
CAPACITY = 256
SIZES = (0, 1, 15, 16, 17, 100, 496, 497, 511, 512, 513, 528, 600, 1100, 4_000, 70_000)
SORTS = {"span", "no-span", "telemetry", "import", "after-end", "gc", "other"}


def install():
    """Hook the allocators and take so many samples that the table is always full."""
    faulthandler.dump_traceback_later(270, exit=True)
    reason = _core.install(_bootstrap._find_and_load.__code__)
    assert reason is None, reason
    _core.set_attributing(True)
    thin_constantly()


def thin_constantly():
    """A full table raises R; say it again to have it thinned again."""
    _core.set_sampling(True, rate_bytes=64, capacity=CAPACITY)


@contextlib.contextmanager
def span(name, kind=0):
    """A span of the core's own, current in this context."""
    record = _core.begin(name, kind)
    variable = _core.context_variable()
    before = variable.get(None)
    variable.set(record)
    try:
        yield record
    finally:
        variable.set(before)
        _core.finish(record)


def rounds(seconds=SECONDS):
    """Count up until the time is over."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield number
        number += 1
    assert number, "not even one round"


class Threads:
    """Start functions in threads; wait for all; what one of them raised is raised."""

    def __init__(self):
        self._threads, self._raised = [], []

    def start(self, function, *arguments, count=1):
        for _ in range(count):
            thread = threading.Thread(target=self._run, args=(function, *arguments))
            self._threads.append(thread)
            thread.start()

    def _run(self, function, *arguments):
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again by join
            self._raised.append(error)

    def join(self):
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._raised:
            raise self._raised[0]


def read_all():
    """Read every profile, and look whether it can be true."""
    rows = _core.pairs()
    for sort, name, kind, entry, count, allocated, _peak, live, samples in rows:
        assert sort in SORTS, sort
        assert isinstance(name, str), name
        assert isinstance(entry, str), entry
        assert 0 <= kind < 5, kind
        assert min(count, allocated, live, samples) >= 0, (sort, name)
        assert (live > 0) == (samples > 0), (sort, name, live, samples)
    stacks = _core.stacks(200)
    assert len(stacks) <= 200
    for sort, name, _kind, _entry, frames, live, samples, age, *_, ages, _, _ in stacks:
        assert sort in SORTS, sort
        assert isinstance(name, str), name
        assert live > 0, (name, live)
        assert samples > 0, name
        assert 0 <= age < 3600, age
        assert abs(sum(ages) - live) <= len(ages), (ages, live)
        for file, line, function in frames:
            assert isinstance(file, str), file
            assert isinstance(line, int), line
            assert isinstance(function, str), function
    health = _core.health()
    assert health["live_samples"] <= 2 * CAPACITY, health
    _core.totals()
    return rows


def switch_about(seconds=SECONDS):
    """Turn everything off and on while others allocate, and read meanwhile."""
    for number in rounds(seconds):
        _core.set_attributing(number % 3 != 0)
        if number % 5 == 0:
            _core.set_sampling(False)
        thin_constantly()
        read_all()
        assert _core.probe()
    _core.set_attributing(True)
    thin_constantly()


def assert_nothing_lives(before_net_bytes, prefix, slack_bytes=256 * KIB):
    """All blocks are freed: the rows of these spans hold next to nothing.

    What the interpreter keeps for later (frames, small tuples) is not ours to free.
    """
    gc.collect()
    for row in read_all():
        sort, name, live_bytes = row[0], row[1], row[7]
        if name.startswith(prefix):
            assert live_bytes < slack_bytes, (sort, name, live_bytes)
    grown = _core.totals()[0] - before_net_bytes
    print("left:", grown, _core.health())
    assert grown < 2 * slack_bytes, grown
    assert _core.health()["samples"] > 0
