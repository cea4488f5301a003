# SPDX-License-Identifier: Apache-2.0
"""Of the dashboard *Fleet*: who fires, who restarts, and how otel-memory itself is."""

from __future__ import annotations

from deploy import names
from deploy.grafana import frame, looks
from deploy.grafana.figures import WATCHER, WATCHER_STEPS
from deploy.grafana.frame import Section
from deploy.grafana.panels import About, Panel, Query, lines
from deploy.grafana.promql import PROCESS, SERVICE, by, increase, rate, select
from deploy.grafana.tables import Figure, Label, rows
from otel_memory import semconv


def sections() -> list[Section]:
    """Give the lower half of the dashboard."""
    return [
        Section(400, "Alerts", [(8, [_firing(), _raised()])]),
        Section(500, "Restarts and kills", [(8, [_youngest(), _kills()])]),
        Section(
            600,
            "otel-memory itself",
            [(8, [_failures(), _incomplete()]), (8, [_sources(), _watcher()])],
        ),
    ]


def _firing() -> Panel:
    labels = ("alertname", "severity", *PROCESS)
    return rows(
        About(
            401,
            "Who fires",
            "Alert rules of otel-memory that fire now in Prometheus. Empty is good, "
            "as long as the rules are loaded: `GET /api/v1/rules` says so.",
            "Follow the runbook of the alert, critical ones first.",
            12,
        ),
        [
            Label("Alert", "alertname"),
            Label("Severity", "severity"),
            Label("Service", names.JOB),
            Label("Instance", names.INSTANCE),
        ],
        [Figure("", by("max", labels, frame.FIRING))],
        sort_by="Severity",
        descending=False,
    )


def _raised() -> Panel:
    return lines(
        About(
            402,
            "Alerts that processes raised themselves",
            "Each process watches its own memory and speaks up, with suspects and "
            "their lines, in its log and as a log event.",
            "Search the logs of the service for `otel_memory` at that time: the "
            "suspects are in the message.",
            12,
            [
                Query(
                    by(
                        "sum",
                        (names.JOB, names.ALERT_KIND),
                        increase(semconv.ALERTS),
                    ),
                    f"{{{{job}}}} {{{{{names.ALERT_KIND}}}}}",
                )
            ],
        ),
        bars=True,
        colors={f" {kind}$": color for kind, color in looks.COLOR_BY_ALERT.items()},
    )


def _youngest() -> Panel:
    return lines(
        About(
            501,
            "Age of the youngest process",
            "A line that falls to zero is a process that has started.",
            "Teeth at times when nobody deployed are crashes or kills: look at *Share "
            "of the limit* just before.",
            12,
            [Query(by("min", SERVICE, select(semconv.PROCESS_UPTIME)), "{{job}}")],
            looks.SECONDS,
        )
    )


def _kills() -> Panel:
    # All processes of a container count the same kills: a sum would be too much.
    return lines(
        About(
            502,
            "Out-of-memory kills",
            "Processes that the kernel killed in a container that lives on, a worker "
            "for example; of each service the container that had most. A container "
            "that was killed as a whole begins anew: it shows on the left as a start.",
            "Any bar is lost work. Look at the largest single span before it, and at "
            "the limit.",
            12,
            [Query(by("max", SERVICE, increase(semconv.OOM_KILLS)), "{{job}}")],
        ),
        bars=True,
    )


def _failures() -> Panel:
    return lines(
        About(
            601,
            "Failures of otel-memory",
            "Exceptions of our own that were kept from the application. Figures may "
            "be missing after them.",
            "The logger `otel_memory` has the first of each kind with its traceback: "
            "please report it.",
            12,
            [Query(by("sum", SERVICE, increase(semconv.FAILURES)), "{{job}}")],
        ),
        bars=True,
    )


def _incomplete() -> Panel:
    return lines(
        About(
            602,
            "What is missing from the figures",
            "*Samples*: allocations that the live-heap sampler could not keep, by "
            "second. *Entries*: entry spans that are not in the histogram of peaks, "
            "by second. *Names*: names of spans that are part of (other) though they "
            "matter.",
            "Samples: live bytes are too low, please report it. Entries: above some "
            "400 a second the histogram is itself a sample, nothing to do. Names: "
            "raise `OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES`, or give routes names without "
            "ids.",
            12,
            [
                Query(
                    by("sum", SERVICE, rate(semconv.SAMPLER_DROPPED)),
                    "{{job}} samples",
                ),
                Query(
                    by("sum", SERVICE, rate(semconv.ENTRY_DROPPED)),
                    "{{job}} entries",
                ),
                Query(
                    by("max", SERVICE, select(semconv.SPAN_NAMES_REFUSED)),
                    "{{job}} names",
                ),
            ],
        )
    )


def _sources() -> Panel:
    labels = (names.JOB, names.HEAP_SOURCE)
    return lines(
        About(
            603,
            "Processes by source of heap figures",
            "`native` counts every allocation of Python's; `tracemalloc` gives "
            "process figures alone; `off` and `lost` give none.",
            "Anything but `native`: *Process* says why, and `otel-memory doctor` in "
            "the container what to do.",
            12,
            [
                Query(
                    by("sum", labels, select(semconv.HEAP_SOURCE)),
                    f"{{{{job}}}} {{{{{names.HEAP_SOURCE}}}}}",
                )
            ],
        ),
        stacked=True,
    )


def _watcher() -> Panel:
    return lines(
        About(
            604,
            "Processor time of the background thread",
            "Share of one processor that otel-memory's own thread takes, the busiest "
            "process of each service.",
            f"Above {WATCHER:.0%} raise `OTEL_PYTHON_MEMORY_INTERVAL`, and please "
            "report it.",
            12,
            [Query(by("max", SERVICE, rate(semconv.WATCHER_TIME)), "{{job}}")],
            looks.SHARE,
        ),
        steps=WATCHER_STEPS,
    )
