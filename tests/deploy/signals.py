# SPDX-License-Identifier: Apache-2.0
"""Processes whose other series look like trouble: kills, failures, verdicts, spans."""

from __future__ import annotations

from deploy.rules import collector
from otel_memory import semconv

from .lives import BASE, FAILURES, LOST, SPAN_GROWTH, Life
from .shapes import (
    JOB,
    MIB,
    Collector,
    Curve,
    Process,
    bursts,
    flat,
    line,
    noise,
    restarted,
    span_row,
    step,
    summed,
    teeth,
    warm_up,
)

REFUSED, NO_ROOM = collector.COUNTERS


def source(name: str, reason: str) -> tuple[semconv.Metric, dict[str, str], Curve]:
    values = (name, reason, "false")
    attributes = dict(zip(semconv.HEAP_SOURCE.attributes, values, strict=True))
    return (semconv.HEAP_SOURCE, attributes, flat(1))


# What other series say, and nothing is the matter; but for one span.
SERIES = (
    Life("flat", Process(memory=BASE)),
    # An old container: all of its kills were before.
    Life(
        "kills-before",
        Process(begin=200, more=[(semconv.OOM_KILLS, {}, flat(7))]),
    ),
    # Kills of a container that ended, too: its successor counts from none.
    Life(
        "kills-of-another-container",
        Process(
            memory=restarted(flat(300), every=240),
            age=restarted(float, every=240),
            more=[(semconv.OOM_KILLS, {}, lambda m: 7 if m < 240 else 0)],
        ),
    ),
    # Telemetry came late: what failed was hours ago.
    Life(
        "failed-before",
        Process(begin=200, more=[(semconv.FAILURES, {}, flat(2))]),
    ),
    # Nothing is instrumented without a first sample, and that has the failures.
    Life(
        "failed-at-start",
        Process(
            begin=200,
            age=lambda m: max(m - 200, 0),
            more=[(semconv.FAILURES, {}, flat(2))],
        ),
        [FAILURES],
        [199, 265],
    ),
    Life("off-by-choice", Process(more=[source(semconv.SOURCE_OFF, "")])),
    Life("native", Process(more=[source(semconv.SOURCE_NATIVE, "")])),
    Life(
        "idle-sampler",
        Process(
            more=[
                (semconv.SAMPLER_SAMPLES, {}, flat(0)),
                (semconv.SAMPLER_DROPPED, {}, flat(0)),
            ]
        ),
    ),
    Life(
        "verdict-growing",
        Process(
            more=[
                (semconv.LEAK_STATE, {}, flat(3)),
                (semconv.GROWTH, {}, flat(90 * MIB)),
            ]
        ),
    ),
    Life(
        "verdict-for-a-moment",
        Process(
            more=[
                (semconv.LEAK_STATE, {}, bursts(4, 60, 5)),
                (semconv.GROWTH, {}, flat(90 * MIB)),
            ]
        ),
    ),
    Life(
        "reads-once",
        Process(
            more=[
                (
                    semconv.PRESSURE_SOME,
                    {semconv.ATTR_PRESSURE_SCOPE: semconv.PRESSURE_CGROUP},
                    line(1800, 200, 204),
                )
            ]
        ),
    ),
    # The import of the first request is a part of the warm-up.
    Life(
        "first-request",
        Process(
            more=[
                (
                    semconv.SPAN_PEAK,
                    span_row("GET /"),
                    lambda m: (400 if m < 5 else 20) * MIB,
                )
            ]
        ),
    ),
    # Live bytes follow traffic: work in progress, no growth per call.
    Life(
        "busier",
        Process(
            spans={"load": summed(flat(20), line(40, 60, 360))},
            traffic=summed(flat(200), line(400, 60, 360)),
        ),
    ),
    Life(
        "grows-without-calls",
        Process(
            spans={"start": summed(flat(20), line(40))},
            traffic=lambda m: 1 if m == 5 else 0,
        ),
    ),
    Life(
        "hardly-called",
        Process(
            spans={"report": summed(flat(20), line(40))},
            traffic=lambda m: 1 if m % 12 == 0 else 0,
        ),
    ),
    Life(
        "cleared-every-two-hours",
        Process(spans={"collects": summed(flat(20), teeth(60, 120))}),
    ),
    Life(
        "cache-that-fills",
        Process(spans={"cached": warm_up(80, 30), "GET /": flat(1)}),
    ),
    # It was cleared, and 36 minutes of filling anew are no hour of growth.
    Life(
        "cache-that-fills-again",
        Process(
            spans={
                "cached": lambda m: 6 if m < 100 else line(60, 194, 236)(m),
                "GET /": flat(1),
            }
        ),
    ),
    Life(
        "one-span-of-many",
        Process(
            spans={
                "leaks": summed(flat(5), line(20)),
                "churns": summed(flat(30), noise(3)),
                "has-teeth": summed(flat(30), teeth(40, 30)),
                "stepped": summed(flat(30), step(60, 300)),
            }
        ),
        [f"{SPAN_GROWTH} leaks"],
        [140],
    ),
)

# How metrics come.
COLLECTORS = (
    # What it lost is hours ago, though the series came back just now.
    Life(
        "collector-away-for-a-moment",
        Collector(down=range(200, 204), counted={REFUSED: flat(7)}),
    ),
    Life("service-down", Collector(job=JOB, down=range(200, 300))),
    # The counter is there from the first loss on.
    Life(
        "collector-without-room",
        Collector(counted={NO_ROOM: step(40, 200)}),
        [LOST],
        [204, 235],
    ),
    Life(
        "collector-refused",
        Collector(counted={REFUSED: summed(flat(7), step(1, 200)), NO_ROOM: flat(3)}),
        [LOST],
        [204, 235],
    ),
)
