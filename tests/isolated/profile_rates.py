# SPDX-License-Identifier: Apache-2.0
"""Estimates stay right while R changes: by itself, by others, and by a full table.

Looked at by phase, that is by span name: a sample that is weighed with another R than
its distance was drawn with makes one phase too large and the next too small, and
leaves the total as it should be.
"""

from __future__ import annotations

import gc
import math
import statistics
import threading
import time
from collections import defaultdict

from _profile import (
    KIB,
    MIB,
    SIGMAS,
    Domain,
    assert_all_is_freed,
    assert_estimate,
    block_bytes,
    fill,
    install,
    rows_by_name,
    run,
    say,
    span,
    variance,
)

from otel_memory.heap import _core

raw = Domain("raw")

# ------------------------------------------------------------ the rate adapts

BLOCK_BYTES = block_bytes(256 * KIB)  # mapped; nobody writes to it, so it costs a page
PHASES = {"fast": (2_048 * MIB, 0.8), "slow": (96 * MIB, 1.6)}
"""Bytes a second, and seconds."""
STEP_SECONDS = 0.01
TURNS, TURNS_MAX = 3, 10
KEPT_OF = 2
ADAPTING_SIGMAS = 4.5
"""Of a variance that is at least twice what it is."""
SIGMA_SHARE = 0.15


class Phase:
    """Allocates at a pace, keeps every second block, and notes what chance may do."""

    def __init__(self, bytes_per_second):
        self.bytes_per_second = bytes_per_second
        self.kept = []
        self.variance = 0.0
        self.rates = []

    def step(self, blocks):
        before = _core.health()["rate_bytes"]
        for _ in range(blocks):
            for number in range(KEPT_OF):
                block = raw.malloc(BLOCK_BYTES)
                if number:
                    raw.free(block)
                else:
                    self.kept.append(block)
        rates = before, _core.health()["rate_bytes"]
        # R goes up and down by twice within a step.
        self.variance += blocks * variance([BLOCK_BYTES], 2 * max(rates))
        self.rates += rates

    def go_on_for(self, seconds):
        started = time.monotonic()
        done = 0
        while (elapsed := time.monotonic() - started) < seconds:
            wanted = elapsed * self.bytes_per_second / BLOCK_BYTES / KEPT_OF
            if wanted - done >= max(1, self.bytes_per_second * STEP_SECONDS / MIB):
                self.step(int(wanted) - done)
                done = int(wanted)


def sigma_share(phases, kind):
    """Of all phases of one kind together."""
    those = [phase for name, phase in phases.items() if name.startswith(kind)]
    held = sum(len(phase.kept) for phase in those) * BLOCK_BYTES
    return math.sqrt(sum(phase.variance for phase in those)) / held


def go_through_phases():
    """Turn by turn, until there are samples enough: {name of its span: Phase}.

    A machine that stands still now and then makes up for it in a rush, which raises
    R, and the next phase has few samples.
    """
    phases = {}
    for turn in range(TURNS_MAX):
        for kind, (bytes_per_second, seconds) in PHASES.items():
            phase = phases[f"{kind} {turn}"] = Phase(bytes_per_second)
            with span(f"{kind} {turn}"):
                phase.go_on_for(seconds)
        shares = [sigma_share(phases, kind) for kind in PHASES]
        if turn + 1 >= TURNS and max(shares) <= SIGMA_SHARE:
            return phases
    raise AssertionError((shares, "too few samples to say anything"))


def case_adapting():
    """Each phase by itself, all fast and all slow ones: within what chance does."""
    install()
    phases = go_through_phases()
    rates = [rate for phase in phases.values() for rate in phase.rates]
    say("R from", min(rates), "to", max(rates))
    assert max(rates) > 4 * min(rates), "the rate did not adapt: nothing is shown"
    rows = rows_by_name()
    errors, spreads, truths = (defaultdict(float) for _ in range(3))
    for name, phase in phases.items():
        held = len(phase.kept) * BLOCK_BYTES
        error = rows[name].live - held
        sigma = math.sqrt(phase.variance)
        say(f"{name}: {error / held:+.1%} of {held}, sigma {sigma / held:.1%}")
        assert abs(error) <= ADAPTING_SIGMAS * sigma, name
        kind = name.split()[0]
        errors[kind] += error
        spreads[kind] += phase.variance
        truths[kind] += held
    for kind, error in errors.items():
        sigma, held = math.sqrt(spreads[kind]), truths[kind]
        say(f"all {kind}: {error / held:+.1%}, sigma {sigma / held:.1%}")
        assert abs(error) <= ADAPTING_SIGMAS * sigma, kind
    for phase in phases.values():
        for block in phase.kept:
            raw.free(block)
    # What the phases note was born in their spans, too.
    phases.clear()
    del phase, rates
    assert_all_is_freed(tuple(PHASES))


# ------------------------------------------------- another thread changes it

THREADS = 200
PIECES = 128
PIECE_BYTES = 256
ADDRESS_BYTES = 32  # the int that holds a block's address


def check_parked(before_bytes, after_bytes):
    """Distances drawn with one R are used up when there is another.

    Each thread then allocates 36 KiB, with one distance of the old R and many of the
    new one, or one that it does not come to the end of. Weighed with the wrong one
    its first sample is off by a factor of 32.
    """
    name = f"parked {before_bytes}"
    parked, go = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    filled, leave = threading.Barrier(THREADS + 1), threading.Event()
    obj = Domain("obj")

    def work():
        blocks = [None] * PIECES
        with span(name):
            obj.free(obj.malloc(16))  # draws
            parked.wait()
            go.wait()
            fill(blocks, lambda _: obj.malloc(PIECE_BYTES))
            filled.wait()
        leave.wait()
        for block in blocks:
            obj.free(block)

    _core.set_sampling(True, rate_bytes=before_bytes)
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    parked.wait()
    _core.set_sampling(True, rate_bytes=after_bytes)
    go.wait()
    filled.wait()
    sizes = [PIECE_BYTES, ADDRESS_BYTES] * PIECES * THREADS
    # The larger R's variance is the upper bound: 9.4 % of 7.4 MB.
    row = rows_by_name()[name]
    largest = max(before_bytes, after_bytes)
    assert_estimate(row, sizes, largest, name, share=0.6)
    leave.set()
    for thread in threads:
        thread.join()


def case_parked_threads():
    install()
    for before_bytes, after_bytes in ((2, 64), (64, 2)):
        check_parked(before_bytes * KIB, after_bytes * KIB)


# ------------------------------------------------------- R is larger than blocks

HUGE_BLOCKS = 20_000
HUGE_BYTES = block_bytes(64 * MIB)
HUGE_RATE_BYTES = 256 * MIB


def case_huge_blocks():
    """After a storm R is so large that a thread looks at it again before a sample.

    64 MiB are a sample in 22 of 100 times; of 20,000, sigma is 1.3 %.
    """
    install(rate_bytes=HUGE_RATE_BYTES)
    before = _core.health()["samples"]
    for _ in range(HUGE_BLOCKS):
        raw.free(raw.malloc(HUGE_BYTES))
    samples = _core.health()["samples"] - before
    chance = -math.expm1(-HUGE_BYTES / HUGE_RATE_BYTES)
    sigma = math.sqrt(HUGE_BLOCKS * chance * (1 - chance))
    say("samples:", samples, "of", HUGE_BLOCKS * chance, "sigma", sigma)
    assert abs(samples - HUGE_BLOCKS * chance) <= SIGMAS * sigma


# ------------------------------------------------------------ a table is full

CAPACITY = 1024
ROUNDS = 100
SHARES = (1, 2, 4, 8)
SIZES = {"small": 48, "medium": 2_000}
UNIT_BYTES = 160_000
HEAD_BYTES = 33


def case_thinning():
    """Two tables that are thinned again and again keep the shares of all names.

    Blocks of 2,000 bytes are among those of 48, since thinning gives up fewer of
    them; and what was born before the table was first full stands beside what came
    last. The smallest share has some 30 samples a round, so that the mean of 100
    rounds has a sigma of 3 %. In how many rounds R is doubled once more is chance.
    """
    install()
    held = {
        f"{age} {kind} {share}": [None] * (share * UNIT_BYTES // block_bytes(size))
        for age in ("old", "new")
        for share in SHARES
        for kind, size in SIZES.items()
    }
    errors, variances = defaultdict(list), defaultdict(list)
    for seed in range(ROUNDS):
        gc.collect()
        _core.set_sampling(True, rate_bytes=512, capacity=CAPACITY, seed=seed + 1)
        thinned = _core.health()["thinned"]
        for name, slots in held.items():
            size = SIZES[name.split()[1]] - HEAD_BYTES
            with span(name):
                fill(slots, lambda _, size=size: bytes(size))
        health = _core.health()
        assert health["thinned"] - thinned > CAPACITY, health
        assert health["rate_bytes"] >= 8 * 512, "the tables were not driven hard"
        assert health["live_samples"] <= 2 * CAPACITY, health
        rows = rows_by_name()
        for name, slots in held.items():
            sizes = [block_bytes(SIZES[name.split()[1]])] * len(slots)
            errors[name].append(rows[name].live - sum(sizes))
            variances[name].append(variance(sizes[:1], health["rate_bytes"]))
            variances[name][-1] *= len(sizes)
            slots[:] = [None] * len(slots)
        assert_all_is_freed(("old", "new"))
    assert _core.health()["dropped"] == 0
    for name, found in errors.items():
        total = len(held[name]) * block_bytes(SIZES[name.split()[1]])
        mean = statistics.fmean(found) / total
        sigma = math.sqrt(sum(variances[name])) / ROUNDS / total
        spread = statistics.stdev(found) / total
        say(f"{name}: mean {mean:+.2%}, sigma {sigma:.2%}; of one {spread:.1%}")
        assert sigma <= 0.04, (name, "too few samples to say anything")
        assert abs(mean) <= SIGMAS * sigma, name


if __name__ == "__main__":
    run(globals())
