# SPDX-License-Identifier: Apache-2.0
"""Live bytes by span name are an unbiased estimate, of the spread that is promised.

Each case is called with the name of a population of blocks of known sizes. A run
re-seeds the sampler, fills the spans, reads, and frees everything: figures are nearly
the same each time, and bounds of 4.5 standard deviations are wide enough.
"""

from __future__ import annotations

import gc
import math
import statistics

from _profile import (
    POPULATIONS,
    assert_all_is_freed,
    fill,
    install,
    rehearsal,
    rows_by_name,
    run,
    say,
    span,
    variance,
)

from otel_memory.heap import _core

RUNS = 100
SIGMAS = 4.5
MEAN_SHARE = 0.02
ONE_SHARE = 0.1


def runs_of(population, names, count):
    """Fill spans of these names with `count` things each: {name: [live by run]}."""
    found = {name: [] for name in names}
    kept = {name: [None] * count for name in names}
    with rehearsal():
        for name in names:
            with span(name):
                fill(kept[name], population.make)
        for slots in kept.values():
            slots[:] = [None] * count
    for seed in range(RUNS):
        gc.collect()  # no object comes from a free list, born elsewhere
        _core.set_sampling(True, rate_bytes=population.rate_bytes, seed=seed + 1)
        for name in names:
            with span(name):
                fill(kept[name], population.make)
        rows = rows_by_name()
        for name in names:
            found[name].append(rows[name].live)
        for slots in kept.values():
            slots[:] = [None] * count
        assert_all_is_freed("name")
    assert _core.health()["thinned"] == _core.health()["dropped"] == 0
    return found


def check_mean(found, held, sigma):
    """Of 100 runs, by name; so many samples that 2 % is more than 4.5 sigma."""
    assert SIGMAS * sigma / math.sqrt(RUNS) <= MEAN_SHARE * held
    for name, lives in found.items():
        mean = statistics.fmean(lives) / held
        say(name, f"mean {mean:.4f} of {held}, sigma of one {sigma / held:.2%}")
        assert abs(mean - 1) <= MEAN_SHARE, (name, mean)


def check_spread(found, held, sigma):
    """Scores in standard deviations have a standard deviation of 1.

    That of a spread from n scores is 1/sqrt(2n).
    """
    scores = [(live - held) / sigma for lives in found.values() for live in lives]
    mean, spread = statistics.fmean(scores), statistics.stdev(scores)
    say("scores:", len(scores), "mean", mean, "spread", spread)
    assert abs(mean) <= SIGMAS / math.sqrt(len(scores))
    assert abs(spread - 1) <= SIGMAS / math.sqrt(2 * len(scores))


def prepare(kind, samples):
    install()
    population = POPULATIONS[kind]
    count, sizes = population.of(samples)
    return (
        population,
        count,
        sum(sizes),
        math.sqrt(variance(sizes, population.rate_bytes)),
    )


def case_one_name(kind):
    """4,000 samples: sigma is 1.6 %, so that each run is within 10 %."""
    population, count, held, sigma = prepare(kind, 4_000)
    found = runs_of(population, ["name"], count)
    check_mean(found, held, sigma)
    check_spread(found, held, sigma)
    worst = max(abs(live / held - 1) for live in found["name"])
    say("worst", worst)
    assert worst <= ONE_SHARE


def case_twenty_names(kind):
    """640 samples a name: sigma is 4 % of one run, 0.4 % of the mean of 100."""
    population, count, held, sigma = prepare(kind, 640)
    found = runs_of(population, [f"name {number}" for number in range(20)], count)
    check_mean(found, held, sigma)
    check_spread(found, held, sigma)


def case_few_samples(kind):
    """64 samples a name: sigma is 12.5 %, and no single row is within 10 %.

    What can be said is that the spread is what it must be, and that the mean of the
    2,000 rows is right: 12.5 % / sqrt(2,000) is 0.3 %.
    """
    population, count, held, sigma = prepare(kind, 64)
    assert 0.09 <= sigma / held <= 0.125
    found = runs_of(population, [f"name {number}" for number in range(20)], count)
    check_spread(found, held, sigma)
    everything = [live / held for lives in found.values() for live in lives]
    mean = statistics.fmean(everything)
    say("mean", mean)
    assert abs(mean - 1) <= MEAN_SHARE


if __name__ == "__main__":
    run(globals())
