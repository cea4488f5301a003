# SPDX-License-Identifier: Apache-2.0
"""Processes that look like trouble and are none, and leaks among them.

Each has a name and the alerts that it may and must raise: usually none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from otel_memory import semconv

from .lives import (
    AT,
    BASE,
    FORECAST,
    GROWTH,
    LARGE,
    LEAK,
    NEAR,
    RESTART,
    Life,
    every,
    full,
    since,
)
from .promtool import Check, Trial
from .shapes import (
    HOUR,
    MIB,
    Process,
    bursts,
    flat,
    later,
    line,
    noise,
    span_row,
    step,
    summed,
    swing,
    teeth,
    warm_up,
)
from .signals import COLLECTORS, SERIES

# They start four hours after the quietest one.
DAY_TRAFFIC = later(summed(flat(400), swing(800)), 4 * HOUR)

SHORT_MINUTES = 8 * HOUR
CALM = (
    Life("flat", Process(memory=BASE)),
    Life(
        "warm-up", Process(memory=summed(flat(200), warm_up(300, 45), noise(4, seed=2)))
    ),
    Life(
        "warm-up-high",
        Process(memory=summed(flat(200), warm_up(500, 45), noise(4, seed=2))),
    ),
    # What is loaded at the start comes in a straight line, and then no more.
    Life("loads", Process(memory=summed(flat(300), line(360, 0, 80)))),
    Life("deploys", every(summed(flat(200), warm_up(250, 30)), 90)),
    Life("deploys-of-a-leak", every(summed(flat(200), line(90)), 90)),
    # The second life has no floors but those of its start to be above.
    Life(
        "starts-slowly-again",
        Process(
            memory=lambda m: 300 if m < 200 else 100 + line(60, 200, 425)(m),
            age=since(200),
            limit=None,
            traffic=None,
        ),
    ),
    Life("teeth", Process(memory=summed(BASE, teeth(150, 20)))),
    Life("long-teeth", Process(memory=summed(BASE, teeth(200, 45)))),
    Life("bursts", Process(memory=summed(BASE, bursts(640, 60, 4)))),
    Life("one-step", Process(memory=summed(BASE, step(200, 300)))),
    Life("two-steps", Process(memory=summed(BASE, step(150, 240), step(150, 255)))),
    Life(
        "slow-wave",
        Process(
            memory=summed(BASE, swing(240, 7.5)),
            traffic=summed(flat(400), swing(800, 7.5)),
        ),
    ),
    Life(
        "page-cache",
        Process(memory=BASE, file_pages=line(120), others=flat(20)),
    ),
    Life("high-and-flat", Process(memory=flat(780))),
    # At this pace full in less than three hours, and not yet half full.
    Life("low-and-fast", Process(memory=summed(flat(100), line(240, 60, 130)))),
    Life("scaled-down", Process(memory=BASE, end=209)),
    Life("started-late", Process(memory=flat(300), begin=240)),
    Life("outage", Process(memory=BASE, missing=range(200, 260))),
    Life("full-without-limit", Process(memory=flat(2000), limit=None)),
)

LEAKS = (
    Life("leak", Process(memory=LEAK), [GROWTH, FORECAST]),
    Life(
        "leak-beside-others",
        Process(memory=LEAK, limit=700),
        [GROWTH, FORECAST, NEAR, AT],
        [140],
    ),
    Life("leak-without-limit", Process(memory=LEAK, limit=None), [GROWTH]),
    # The line through all samples explains too little of them, that of floors enough.
    Life(
        "leak-under-bursts",
        Process(memory=summed(LEAK, bursts(40, 20, 2)), limit=None),
        [GROWTH],
        [140],
    ),
    Life(
        "leak-without-traffic",
        Process(memory=LEAK, traffic=None),
        [GROWTH, FORECAST],
    ),
    # Growth is not judged on a fifth of the samples; levels are.
    Life("sparse", Process(memory=LEAK, limit=None, every=5)),
    Life("sparse-and-near", Process(memory=LEAK, limit=700, every=5), [NEAR, AT]),
    # It was killed at 900 MiB and leaks again under the same name.
    Life(
        "leak-restarted",
        Process(
            memory=lambda m: 760 + m if m < 200 else 300 + (m - 200),
            age=since(200),
            traffic=None,
        ),
        [NEAR, AT, RESTART, FORECAST, GROWTH],
        [230, 400],
    ),
    Life(
        "vanished",
        Process(memory=summed(flat(300), line(4400, 200, 209)), end=209),
        [RESTART],
        [208, 245],
    ),
)

# Around a start, a scrape that fails, and the limit itself.
EDGE_MINUTES = 4 * HOUR
EDGES = (
    # A start takes much for some minutes: of a new process, of one that was not seen
    # for a while, and of one that was replaced under the same name.
    Life("full-start", Process(memory=full(200, 3), begin=200, age=since(200))),
    Life("near-start", Process(memory=full(200, 7, 850), begin=200, age=since(200))),
    Life("full-after-outage", Process(memory=full(200, 3), missing=range(140, 200))),
    Life("full-after-deploy", Process(memory=full(220, 3), age=since(220))),
    Life(
        "full-from-start",
        Process(memory=flat(950), begin=200, age=since(200)),
        [NEAR, AT],
        [204],
    ),
    # What thrashes at its limit does not answer each time.
    Life(
        "full-and-slow",
        Process(memory=flat(950), unanswered=range(4, EDGE_MINUTES, 5)),
        [AT],
    ),
    Life(
        "near-and-slow",
        Process(memory=flat(850), unanswered=range(4, EDGE_MINUTES, 10)),
        [NEAR],
    ),
    # The limit is one that it was told, and does not kill.
    Life(
        "beyond-its-limit",
        Process(memory=summed(LEAK, flat(500)), limit=700),
        [GROWTH, NEAR, AT],
    ),
)

LONG_MINUTES = 26 * HOUR
LONG = (
    Life(
        "day",
        Process(
            memory=summed(BASE, later(swing(400), 4 * HOUR)),
            traffic=DAY_TRAFFIC,
            limit=920,
        ),
    ),
    Life(
        "leak-under-day",
        Process(
            memory=summed(BASE, later(swing(240), 4 * HOUR), line(60)),
            traffic=DAY_TRAFFIC,
            limit=4000,
        ),
        [GROWTH],
        [4 * HOUR],
    ),
    # Nothing tells the first morning from a leak; the second one is none any more.
    Life(
        "day-without-traffic",
        Process(memory=summed(BASE, later(swing(400), 4 * HOUR)), traffic=None),
        [GROWTH],
        range(9 * HOUR, LONG_MINUTES, HOUR),
    ),
)


def trial(name: str, lives: Sequence[Life], minutes: int) -> Trial:
    """Watch all of them at once, so that one does not hide or betray another."""
    checks = [
        check
        for life in lives
        for check in (
            Check(life.name, life.alerts),
            *(Check(life.name, [], minute) for minute in life.silent),
        )
    ]
    processes = [replace(life.process, instance=life.name) for life in lives]
    return Trial(name, minutes, processes, checks)


_LARGE = Process(more=[(semconv.SPAN_PEAK, span_row("GET /"), flat(400 * MIB))])
# Of two clusters in one store, with equal names.
TWINS = Trial(
    "twins",
    HOUR,
    [
        replace(_LARGE, instance="twin", labels={"cluster": "east"}),
        replace(_LARGE, instance="twin", labels={"cluster": "west"}),
        replace(_LARGE, instance="alone"),
    ],
    [
        Check("twin", [f"{LARGE} GET /"], cluster="east"),
        Check("twin", [f"{LARGE} GET /"], cluster="west"),
        Check("alone", [f"{LARGE} GET /"]),
    ],
)
SHORTS = (
    TWINS,
    trial("calm", CALM, SHORT_MINUTES),
    trial("leaks", LEAKS, SHORT_MINUTES),
    trial("series", SERIES, SHORT_MINUTES),
    trial("edges", (*EDGES, *COLLECTORS), EDGE_MINUTES),
)
DAYS = trial("days", LONG, LONG_MINUTES)
