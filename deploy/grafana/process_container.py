# SPDX-License-Identifier: Apache-2.0
"""Of the dashboard *Process*: its container, and its garbage collector."""

from __future__ import annotations

from deploy import names
from deploy.grafana import looks
from deploy.grafana.figures import PRESSURE_FULL, PRESSURE_SOME, PRESSURE_STEPS
from deploy.grafana.frame import Section
from deploy.grafana.panels import ONE, About, Panel, Query, each, lines
from deploy.grafana.promql import PROCESS, by, increase, rate
from otel_memory import semconv


def sections() -> list[Section]:
    """Give the middle of the dashboard."""
    return [
        Section(
            400,
            "The container",
            [(8, [_pressure(), _limit_events()]), (8, [_kills(), _faults()])],
        ),
        Section(500, "Garbage collector", [(8, [_pauses(), _freed()])]),
    ]


def _pressure() -> Panel:
    labels = (*PROCESS, names.PRESSURE_SCOPE)
    scope = f"{{{{{names.PRESSURE_SCOPE}}}}} {ONE}"
    return lines(
        About(
            401,
            "Time waiting for memory",
            "Share of time in which *some* tasks, or *all* of them, waited for "
            "memory. Of the cgroup, or of the machine where the cgroup does not say.",
            f"Some above {PRESSURE_SOME:.0%} or all above "
            f"{PRESSURE_FULL:.0%}: the limit is too small for "
            "what runs here, or the machine is overcommitted (scope `machine`).",
            12,
            [
                Query(by("max", labels, rate(metric)), f"{text}, {scope}")
                for text, metric in (
                    ("some", semconv.PRESSURE_SOME),
                    ("all", semconv.PRESSURE_FULL),
                )
            ],
            looks.SHARE,
        ),
        steps=PRESSURE_STEPS,
    )


def _limit_events() -> Panel:
    labels = (*PROCESS, names.LIMIT_EVENT)
    return lines(
        About(
            402,
            "Limit reached",
            "Times that the container reached its high mark (`high`), its limit "
            "(`max`), or found nothing left to reclaim (`oom`).",
            "`max` without `oom` is file cache that made room: harmless unless "
            "pressure rises too. `oom` means that a kill is near or done.",
            12,
            [
                Query(
                    by("max", labels, increase(semconv.LIMIT_EVENTS)),
                    f"{{{{{names.LIMIT_EVENT}}}}} {ONE}",
                )
            ],
        ),
        bars=True,
    )


def _kills() -> Panel:
    return lines(
        About(
            403,
            "Out-of-memory kills",
            "Processes that the kernel killed in this container while it lived on.",
            "Look at the minute before: *Memory and its limit* for the level, Spans "
            "for the largest single span.",
            12,
            [each(increase(semconv.OOM_KILLS))],
        ),
        bars=True,
    )


def _faults() -> Panel:
    labels = (*PROCESS, names.FAULT_TYPE)
    return lines(
        About(
            404,
            "Page faults",
            "Pages that were not mapped when they were touched. `minor` ones cost "
            "little and go with fresh memory; `major` ones wait for the disk.",
            "Major faults that last mean that code or data is evicted and read again: "
            "the limit is too small, or the machine swaps. Empty: the system-metrics "
            "instrumentation has it under a name of its own.",
            12,
            [
                Query(
                    by("sum", labels, rate(semconv.CONVENTION_FAULTS)),
                    f"{{{{{names.FAULT_TYPE}}}}} {ONE}",
                )
            ],
            looks.PER_SECOND,
        )
    )


def _pauses() -> Panel:
    labels = (*PROCESS, names.GC_GENERATION)
    return lines(
        About(
            501,
            "Time in the garbage collector",
            "Share of time in which the cyclic collector held the process up, by "
            "generation.",
            "Above a few per cent in generation 2: there are many long-lived objects. "
            "`gc.freeze()` after start-up helps, or fewer cycles.",
            12,
            [
                Query(
                    by("sum", labels, rate(semconv.GC_PAUSE)),
                    f"generation {{{{{names.GC_GENERATION}}}}} {ONE}",
                )
            ],
            looks.SHARE,
        ),
        stacked=True,
    )


def _freed() -> Panel:
    labels = (*PROCESS, names.GC_GENERATION)
    return lines(
        About(
            502,
            "Bytes freed by the garbage collector",
            "What the cyclic collector gave back. It is garbage in cycles, which "
            "waits for a collection and makes teeth in the memory above.",
            "Much in generation 2: large objects in cycles, exceptions kept with "
            "their frames for example. Break the cycle rather than collect more often.",
            12,
            [
                Query(
                    by("sum", labels, rate(semconv.GC_FREED)),
                    f"generation {{{{{names.GC_GENERATION}}}}} {ONE}",
                )
            ],
            looks.BYTES_PER_SECOND,
        ),
        stacked=True,
    )
