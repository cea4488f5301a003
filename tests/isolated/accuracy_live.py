# SPDX-License-Identifier: Apache-2.0
"""The live heap by entry and span is an unbiased estimate, and a close one."""

from __future__ import annotations

import statistics
import sys
from itertools import repeat

from _accuracy import assert_all_freed, run, size_in_heap, warm_up
from _profile import LEFT_SAMPLES
from _tools import assert_close, core_pairs, metric_points, say, start

from otel_memory.heap import _core

SHARE = 0.1
MANY = 64
"""From so many samples on a row is to be within SHARE."""
SIZES = {"small": 48, "medium": 400, "large": 5_000, "huge": 300_000}

kept = {}


def pieces(size, total):
    """Blocks of one size; 33 bytes are the object's head."""
    return [bytes(size - 33) for _ in repeat(None, total // size)]


def held_bytes(blocks):
    return sys.getsizeof(blocks) + sum(map(size_in_heap, blocks))


def warm_up_all(tracer):
    """Have the allocator's tables as large as all cases need them, and `kept`'s."""
    kept.update(dict.fromkeys(range(100)))
    warm_up(tracer, lambda: pieces(SIZES["medium"], 250_000_000))


def case_within_ten_per_cent():
    """So many samples are taken that chance moves the sum by less than two per cent."""
    tracer = start()
    warm_up_all(tracer)
    _core.set_sampling(True, rate_bytes=4 * 1024)
    for name, size in SIZES.items():
        with tracer.start_as_current_span(name):
            kept[name] = pieces(size, 20_000_000)
        held = held_bytes(kept[name])
        row = core_pairs()["span", name]
        say(name, row.live, row.samples, "of", held)
        assert row.samples >= MANY
        assert_close(row.live, held, share=SHARE)
        del kept[name]
        assert_all_freed(name)


def case_by_pair():
    """Entry and span together make a row; each row holds what it bore and keeps."""
    tracer = start()
    totals = {"GET /a": 20_000_000, "GET /b": 30_000_000}

    def fill(prefix, share):
        for entry, total in totals.items():
            with tracer.start_as_current_span(entry):
                for name, size in SIZES.items():
                    with tracer.start_as_current_span(prefix + name):
                        kept[entry, name] = pieces(size, total // share)
                        pieces(size, total // share // 4)  # born here, and gone

    warm_up_all(tracer)
    for _ in range(2):  # spans inside spans keep small things of their own
        fill("warm-up ", 100)
        kept.clear()
    kept.update(dict.fromkeys(range(100)))
    # A table that is full would be thinned, and ten per cent be within chance's reach.
    _core.set_sampling(True, rate_bytes=7 * 1024)
    fill("", 1)
    assert _core.health()["thinned"] == 0
    rows = {(row[3], row[1]): row[7:9] for row in _core.pairs() if row[0] == "span"}
    for entry in totals:
        for name in SIZES:
            held = held_bytes(kept[entry, name])
            alive, samples = rows[entry, name]
            say(entry, name, alive, samples, "of", held)
            assert samples >= MANY
            assert_close(alive, held, share=SHARE)
    kept.clear()
    assert_all_freed(*SIZES)


def case_unbiased():
    """At about 64 samples a row the mean over many rows is right, not one row."""
    tracer = start()
    _core.set_sampling(True, rate_bytes=32 * 1024)
    rows, total = 100, MANY * 32 * 1024
    for number in range(rows):
        with tracer.start_as_current_span(f"row {number}"):
            kept[number] = pieces(200, total)
    held = held_bytes(kept[0])
    pairs = core_pairs()
    found = [pairs["span", f"row {number}"] for number in range(rows)]
    relative = [row.live / held for row in found]
    spread = statistics.stdev(relative)
    say("mean", statistics.mean(relative), "spread", spread)
    # The spread of one row is 1/8; of the mean of 100 rows 1/80. Five of them.
    assert abs(statistics.mean(relative) - 1) < 5 / 80
    assert spread < 2 / 8


def case_by_metric():
    """With the rate that adapts itself, and as a backend sees it."""
    tracer = start()
    warm_up_all(tracer)
    _core.set_sampling(True)  # with the rate that a process starts with
    with tracer.start_as_current_span("GET /a"):
        for name, size in SIZES.items():
            with tracer.start_as_current_span(name):
                kept[name] = pieces(size, 40_000_000)
    rows = {name: core_pairs()["span", name] for name in SIZES}
    shown = live_by_metric()
    for name, row in rows.items():
        say(name, shown[name], row.samples, "of", held_bytes(kept[name]))
        assert shown[name] == row.live
    held = sum(held_bytes(kept[name]) for name in SIZES)
    samples = sum(row.samples for row in rows.values())
    assert samples >= MANY / 2
    # Each row had a rate of its own: its mean weight. Six standard deviations; blocks
    # beyond the rate add less than their share.
    spread = sum(row.live**2 / max(row.samples, 1) for row in rows.values()) ** 0.5
    assert_close(sum(shown.values()), held, share=0, slack=6 * spread)
    kept.clear()
    assert_all_freed(*SIZES)
    assert sum(live_by_metric().values()) <= LEFT_SAMPLES * held / samples


def live_by_metric():
    return {
        attributes["span.name"]: value
        for value, attributes in metric_points()["otel_memory.span.heap.live"]
        if attributes["span.name"] in SIZES
    }


if __name__ == "__main__":
    run(globals())
