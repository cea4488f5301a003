# SPDX-License-Identifier: Apache-2.0
"""For each alert a process that makes it fire, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deploy import names
from otel_memory import semconv

from .lives import since
from .shapes import MIB, Collector, Curve, Process, flat, line, span_row, step, summed

MINUTES = 420
CGROUP = {semconv.ATTR_PRESSURE_SCOPE: semconv.PRESSURE_CGROUP}
MACHINE = {semconv.ATTR_PRESSURE_SCOPE: semconv.PRESSURE_MACHINE}
OPERATION = "get_product_list"


@dataclass(frozen=True)
class Rung:
    """One alert, and a process that makes it fire.

    Attributes:
        title: Of the alert.
        severity: Its label.
        process: Without a name of its own.
        silent: A minute just before it fires.
        firing: One at which it does.
        over: One at which it has ended.
        kept: One at which it only goes on, as its `keep` says; None without that.
        description: What it says at `firing`.
        late: What it says where a recording is seen a minute later, if that differs.
        beside: Other alerts that the process rightly raises at some time.
        also: Those of them at `firing`.
        also_kept: Those of them at `kept`.
        dashboard: Key of the settings; the fleet's shows no single process.
        labels: Besides job, instance and severity.
    """

    title: str
    severity: str
    process: Process | Collector
    silent: int
    firing: int
    over: int
    description: str
    beside: Sequence[str] = ()
    also: Sequence[str] = ()
    dashboard: str = "process"
    labels: Mapping[str, str] = field(default_factory=dict)
    late: str = ""
    kept: int | None = None
    also_kept: Sequence[str] = ()

    @property
    def key(self) -> str:
        span = self.labels.get(names.SPAN_NAME)
        return f"{self.title} {span}" if span else self.title


def between(begin: int, end: int, inside: float, outside: float = 0) -> Curve:
    return lambda minute: inside if begin <= minute < end else outside


def counted(per_minute: float, begin: int, end: int) -> Curve:
    return line(per_minute * 60, begin, end)


def stairs(low: float, high: float, begin: int, end: int) -> Curve:
    return between(begin, end, high, low)


def climbs(end: int, more: float = 0) -> Curve:
    """Grows by 74 MiB a minute for the last ten minutes before a minute."""
    return summed(flat(300 + more), line(74 * 60, end - 10, end))


def restarts(curve: Curve, at: int) -> Curve:
    return lambda minute: curve(minute) if minute < at else 300


NOBODY = Process(others=flat(0))

RUNGS = (
    Rung(
        "OTelMemoryAtLimit",
        "critical",
        replace(NOBODY, memory=stairs(300, 972.8, 60, 110)),
        64,
        72,
        130,
        "WHO has been above 95% of its memory limit for minutes; the kernel kills at 100%.",
        beside=["OTelMemoryNearLimit"],
        kept=112,
        also_kept=["OTelMemoryNearLimit"],
    ),
    Rung(
        "OTelMemoryNearLimit",
        "warning",
        replace(NOBODY, memory=stairs(300, 870.4, 200, 260)),
        213,
        216,
        290,
        "WHO has not been below 85% of its memory limit for ten minutes.",
        kept=265,
    ),
    Rung(
        "OTelMemoryLimitForecast",
        "critical",
        Process(
            memory=summed(flat(500), line(120, 130, 270)),
            traffic=None,
            others=flat(0),
        ),
        150,
        240,
        400,
        "WHO reaches its memory limit in 2h 32m 0s if it goes on growing as in the last "
        "hour.",
        beside=["OTelMemorySteadyGrowth"],
        also=["OTelMemorySteadyGrowth"],
        kept=288,
        also_kept=["OTelMemorySteadyGrowth"],
    ),
    Rung(
        "OTelMemoryOOMKill",
        "warning",
        replace(NOBODY, more=[(semconv.OOM_KILLS, {}, step(2, 200))]),
        199,
        205,
        216,
        "In the container of WHO 2 process(es) were killed at the memory limit in the "
        "last 15 minutes.",
    ),
    Rung(
        "OTelMemoryOOMRestart",
        "warning",
        replace(
            NOBODY,
            memory=restarts(climbs(210), 210),
            age=since(210),
        ),
        209,
        211,
        230,
        "WHO was at 94.34% of its memory limit and then ended or started anew; probably it "
        "was killed.",
        kept=220,
    ),
    Rung(
        "OTelMemoryStalled",
        "critical",
        replace(
            NOBODY,
            more=[(semconv.PRESSURE_FULL, CGROUP, counted(6, 200, 260))],
        ),
        203,
        215,
        270,
        "All tasks in the container of WHO waited for memory 10% of the time.",
        labels={names.PRESSURE_SCOPE: "cgroup"},
        kept=265,
    ),
    Rung(
        "OTelMemoryPressure",
        "warning",
        replace(
            NOBODY,
            more=[
                (semconv.PRESSURE_SOME, MACHINE, counted(12, 200, 260)),
                # Of the machine, which wakes nobody here.
                (semconv.PRESSURE_FULL, MACHINE, counted(12, 200, 260)),
            ],
        ),
        209,
        220,
        280,
        "At WHO some tasks waited for memory 20% of the time (pressure of the machine).",
        labels={names.PRESSURE_SCOPE: "machine"},
        kept=268,
    ),
    Rung(
        "OTelMemoryLeak",
        "warning",
        replace(
            NOBODY,
            more=[
                (semconv.LEAK_STATE, {}, between(200, 260, 4, 3)),
                (semconv.GROWTH, {}, flat(35 * MIB)),
            ],
        ),
        209,
        215,
        295,
        "The verdict of WHO is leaking: it grows by 35MiB an hour, which neither warm-up, a filling cache nor traffic "
        "explains.",
        kept=275,
    ),
    Rung(
        "OTelMemorySteadyGrowth",
        "warning",
        replace(NOBODY, memory=summed(flat(300), line(60, 0, 300)), limit=None),
        205,
        215,
        390,
        "WHO grows by 60MiB an hour more than its traffic explains.",
        late="WHO grows by 59.9MiB an hour more than its traffic explains.",
        kept=342,
    ),
    Rung(
        "OTelMemorySpanGrowth",
        "warning",
        replace(
            NOBODY,
            spans={OPERATION: summed(flat(8), line(30, 0, 300)), "GET /": flat(12)},
        ),
        175,
        200,
        380,
        "get_product_list in WHO holds 30MiB an hour more than its traffic explains.",
        dashboard="spans",
        labels={names.SPAN_NAME: OPERATION},
        late="get_product_list in WHO holds 29.95MiB an hour more than its traffic explains.",
        kept=337,
    ),
    Rung(
        "OTelMemoryLargeRequest",
        "warning",
        replace(
            NOBODY,
            more=[
                (
                    semconv.SPAN_PEAK,
                    span_row(OPERATION),
                    between(200, 202, 307.2 * MIB, 5 * MIB),
                )
            ],
        ),
        199,
        205,
        275,
        "One get_product_list in WHO took 30% of the memory limit; a few at once get the process killed.",
        dashboard="spans",
        labels={names.SPAN_NAME: OPERATION},
        kept=268,
    ),
    Rung(
        "OTelMemoryProfilerOverhead",
        "warning",
        replace(NOBODY, more=[(semconv.WATCHER_TIME, {}, counted(6, 200, 300))]),
        214,
        240,
        350,
        "The background thread of otel-memory takes 10% of a processor in WHO.",
        kept=316,
    ),
    Rung(
        "OTelMemoryHeapSourceLost",
        "info",
        replace(
            NOBODY,
            more=[
                (
                    semconv.HEAP_SOURCE,
                    {
                        semconv.ATTR_HEAP_SOURCE: semconv.SOURCE_LOST,
                        semconv.ATTR_HEAP_REASON: "the hooks were taken out",
                        semconv.ATTR_HEAP_NATIVE_COVERED: "false",
                    },
                    between(200, 260, 1),
                ),
            ],
        ),
        214,
        220,
        261,
        "The heap source of WHO is lost: the hooks were taken out.",
        labels={
            names.HEAP_SOURCE: "lost",
            names.HEAP_REASON: "the hooks were taken out",
            names.NATIVE_COVERED: "false",
        },
    ),
    Rung(
        "OTelMemorySamplerDropping",
        "info",
        replace(
            NOBODY,
            more=[
                (semconv.SAMPLER_SAMPLES, {}, counted(900, 0, MINUTES)),
                (semconv.SAMPLER_DROPPED, {}, counted(100, 200, 300)),
            ],
        ),
        214,
        240,
        350,
        "The sampler of WHO drops 10% of its samples.",
        kept=322,
    ),
    Rung(
        "OTelMemoryProfilerFailures",
        "info",
        replace(NOBODY, more=[(semconv.FAILURES, {}, step(3, 200))]),
        199,
        230,
        265,
        "otel-memory failed 3 time(s) in WHO in the last hour.",
    ),
    Rung(
        "OTelMemoryTelemetryLost",
        "warning",
        Collector(down=range(200, 260)),
        204,
        210,
        280,
        "The Collector WHO does not answer, or could not deliver all metrics within the "
        "last 15 minutes.",
        dashboard="fleet",
        kept=270,
    ),
)
