# SPDX-License-Identifier: Apache-2.0
"""What sampling may cost: samples a second, and memory of its own."""

from __future__ import annotations

import gc
import resource
import statistics
import threading
import time
from pathlib import Path

from _profile import (
    KIB,
    MIB,
    Domain,
    assert_all_is_freed,
    install,
    read_health,
    rehearsal,
    rows_by_name,
    run,
    say,
    span,
)

from otel_memory.heap import _core

# ----------------------------------------------------------- samples a second

PER_SECOND = 1_000
SLACK = 1.6
"""A window of 128 samples that came too fast is made up for in the next one."""
START_SECONDS, SECONDS = 0.6, 1.5
START_SAMPLES = 3_000
"""R goes up fourfold with every 128 samples, from half a MiB to any size."""


def object_storm():
    for _ in range(2_000):
        object()


def bytes_storm(size_bytes, count):
    def storm():
        for _ in range(count):
            bytes(size_bytes)

    return storm


def raw_storm():
    raw = Domain("raw", with_gil=False)

    def storm():
        for _ in range(200):
            raw.free(raw.malloc(1_000))

    return storm


STORMS = {
    "objects": (object_storm, 1),
    "1 MiB": (bytes_storm(MIB, 20), 1),
    # Mapped and never written to: a terabyte a second.
    "64 MiB": (bytes_storm(64 * MIB, 20), 1),
    "8 threads": (object_storm, 8),
    "8 threads, 1 MiB": (bytes_storm(MIB, 20), 8),
    "8 threads without the GIL": (raw_storm(), 8),
}


def case_storm(kind):
    """However fast it comes, samples a second stay near their budget."""
    install()
    storm, count = STORMS[kind]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            storm()

    before = _core.health()["samples"]
    threads = [threading.Thread(target=work) for _ in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    readings = []
    for wait in (START_SECONDS, SECONDS):
        stop.wait(wait)  # for as long as the storm is to last; nobody sets it before
        before_at, samples = time.monotonic(), _core.health()["samples"]
        readings.append((before_at, samples, time.monotonic()))
    stop.set()
    for thread in threads:
        thread.join()
    # A thread may have to wait between a look at the clock and one at the samples.
    (first_before, first, first_after), (_, last, last_after) = readings
    per_second = (last - first) / (last_after - first_before)
    say(kind, "first", first - before, "then", per_second, _core.health())
    assert first - before <= START_SAMPLES + SLACK * PER_SECOND * (first_after - began)
    assert per_second <= SLACK * PER_SECOND
    # It is a storm, and it is sampled: not much less than the budget either.
    assert per_second >= PER_SECOND / 10


# --------------------------------------------------------- memory of our own

SAMPLED = 10_000_000
RATE_BYTES = 4
TABLE = 16_384
KEPT = 2 * TABLE
GROWTH_BYTES = MIB
"""A tenth of a byte for each of the ten million."""
HALF_ROUNDS = 5


def rss_bytes():
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * resource.getpagesize()


def storm_of_samples(count):
    """Nearly each block of these is sampled, and freed at once."""
    for number in range(count // 10_000):
        with span(f"many {number % 20}"):
            for size in (8, 40, 200, 450, 700):
                for _ in range(2):
                    [bytes(size) for _ in range(1_000)]


def fill_tables(rounds, *, is_sampled=True):
    """Keep more blocks than there is room for, from many lines and spans; free them."""
    scope = {}
    lines = "\n".join(
        f"    kept.append(bytes({n % 300})); bytearray(600)" for n in range(3_000)
    )
    for number in range(rounds):
        exec(f"def lines_{number}(kept):\n{lines}\n", scope)
        kept = []
        for half in range(2 * KEPT // 3_000):
            with span(f"full {number} {half}"):
                scope[f"lines_{number}"](kept)
            read_health()
        with span(f"full {number}"):
            kept += [bytearray(600) for _ in range(KEPT)]
        health = read_health()
        assert health["live_samples"] > TABLE or not is_sampled, health
        kept.clear()
        scope.clear()
        gc.collect()
    rows_by_name()  # lets go of what only samples held


def case_ten_million():
    """Memory is as before, and what we say of it never beyond the bound."""
    install()
    with rehearsal():
        fill_tables(1, is_sampled=False)
        storm_of_samples(10_000)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    fill_tables(2)
    assert_all_is_freed("full")
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    storm_of_samples(SAMPLED // 20)
    assert_all_is_freed("many")
    before, rss_before_bytes = read_health(), rss_bytes()
    while _core.health()["samples"] - before["samples"] < SAMPLED:
        storm_of_samples(SAMPLED // 20)
        read_health()
    assert_all_is_freed("many")
    after, rss_after_bytes = read_health(), rss_bytes()
    say(before, after, "RSS grew by", rss_after_bytes - rss_before_bytes)
    assert after["dropped"] == 0
    assert after["memory_bytes"] - before["memory_bytes"] <= 64 * KIB
    assert rss_after_bytes - rss_before_bytes <= GROWTH_BYTES


def case_tables_full():
    """Tables, stacks and rows that are full again and again: RSS does not grow.

    An arena of 1 MiB, and what lies around, may be left or not, once in some ten
    times: so medians are compared.
    """
    install()
    memory, rss = [], []
    with rehearsal():
        fill_tables(1, is_sampled=False)
    for _ in range(1 + 2 * HALF_ROUNDS):
        _core.set_sampling(True, rate_bytes=RATE_BYTES)
        fill_tables(1)
        assert_all_is_freed("full")
        memory.append(read_health()["memory_bytes"])
        rss.append(rss_bytes())
    say(memory, rss, _core.health())
    assert _core.health()["thinned"] > TABLE
    # The names of spans and the rows of pairs are new each time; rows are bounded.
    for readings, bound_bytes in ((memory, GROWTH_BYTES), (rss, 2 * GROWTH_BYTES)):
        before, after = readings[1:-HALF_ROUNDS], readings[-HALF_ROUNDS:]
        growth_bytes = statistics.median(after) - statistics.median(before)
        assert growth_bytes <= bound_bytes, growth_bytes


SPANS = 30_000


def case_records():
    """A sample keeps its span's account: 30,000 spans of which one block lives each."""
    install()
    _core.set_sampling(True, rate_bytes=1)
    kept = []
    for number in range(SPANS):
        with span("one block"):
            kept.append(bytes(100 if number % 2 else 700))
        if number % 1_000 == 0:
            read_health()
    full = read_health()
    kept.clear()
    assert_all_is_freed("one block")
    empty = read_health()
    say(full, empty)
    assert full["live_samples"] > TABLE / 2, full
    # 100 bytes each is what a sample with its span's account takes at the least.
    assert full["memory_bytes"] - empty["memory_bytes"] > 100 * TABLE / 2


if __name__ == "__main__":
    run(globals())
