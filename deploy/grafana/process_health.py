# SPDX-License-Identifier: Apache-2.0
"""Of the dashboard *Process*: its alerts, and how sampler and watcher are."""

from __future__ import annotations

from deploy import names
from deploy.grafana import looks
from deploy.grafana.figures import WATCHER, WATCHER_STEPS
from deploy.grafana.frame import Section
from deploy.grafana.panels import ONE, About, Panel, Query, each, lines
from deploy.grafana.promql import PROCESS, by, increase, rate, select
from deploy.grafana.tables import Figure, Label, rows
from deploy.names import SETTINGS
from otel_memory import semconv


def sections() -> list[Section]:
    """Give the lower part of the dashboard."""
    return [
        Section(
            600,
            "Alerts and otel-memory itself",
            [
                (8, [_raised(), _source()]),
                (8, [_samples(), _table()]),
                (8, [_own_memory(), _watcher(), _failures()]),
            ],
        )
    ]


def _raised() -> Panel:
    labels = (*PROCESS, names.ALERT_KIND)
    return lines(
        About(
            601,
            "Alerts that the process raised",
            "`warning` and `critical` are levels, `growth` a slope that you set, "
            "`leak` the verdict. All lie over the charts above as marks, too.",
            "The log of the process has the message with suspects and their lines: "
            "search it for `otel_memory`.",
            12,
            [
                Query(
                    by("sum", labels, increase(semconv.ALERTS)),
                    f"{{{{{names.ALERT_KIND}}}}} {ONE}",
                )
            ],
        ),
        bars=True,
        colors={f"^{kind} ": color for kind, color in looks.COLOR_BY_ALERT.items()},
    )


def _source() -> Panel:
    labels = (
        Label("Service", names.JOB),
        Label("Instance", names.INSTANCE),
        Label("Source", names.HEAP_SOURCE),
        Label("Reason", names.HEAP_REASON),
        Label("Native memory covered", names.NATIVE_COVERED),
    )
    newest = by(
        "max", tuple(each.label for each in labels), select(semconv.HEAP_SOURCE)
    )
    return rows(
        About(
            602,
            "Where heap figures come from",
            "`native` counts each allocation of Python's; `tracemalloc` gives process "
            "figures alone; `off` and `lost` give none, and the reason says why.",
            "Anything but `native`: run `otel-memory doctor` in the container. Where "
            "native memory is not covered, numpy's and the like are in RSS alone.",
            12,
        ),
        labels,
        [Figure("", newest)],
        sort_by="Source",
        descending=False,
    )


def _samples() -> Panel:
    limit = SETTINGS["profiler"]["dropped_ratio"]
    return lines(
        About(
            603,
            "Samples of the live heap",
            "Allocations by second that the sampler took, and those it should have "
            "kept and could not.",
            f"Above {limit:.0%} dropped, live bytes are too low: do not trust Spans, "
            "and please report it.",
            12,
            [
                each(rate(semconv.SAMPLER_SAMPLES), f"taken {ONE}"),
                each(rate(semconv.SAMPLER_DROPPED), f"dropped {ONE}"),
            ],
            looks.PER_SECOND,
        ),
        colors={"^dropped ": looks.WORST},
    )


def _table() -> Panel:
    return lines(
        About(
            604,
            "Samples alive, and names",
            "Samples of blocks that are alive in the sampler's bounded table; names "
            "of spans and entries with series of their own; and names that matter and "
            "are part of (other), for the limit of names is reached.",
            "Refused names above zero: raise `OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES`, or "
            "take ids out of the names of spans. A full table is no trouble: the "
            "sampler thins itself out.",
            12,
            [
                each(select(semconv.SAMPLER_TABLE_USAGE), f"samples {ONE}"),
                each(select(semconv.SPAN_NAMES), f"names {ONE}"),
                each(select(semconv.SPAN_NAMES_REFUSED), f"refused names {ONE}"),
            ],
        ),
        colors={"^refused names ": looks.WORST},
    )


def _own_memory() -> Panel:
    return lines(
        About(
            605,
            "Memory of otel-memory itself",
            "What samples, stacks, rows and spans' accounts take. It is part of the "
            "process's RSS.",
            "It follows open spans and distinct stacks. If it climbs for days, please "
            "report it.",
            8,
            [each(select(semconv.SAMPLER_MEMORY))],
            looks.BYTES,
        )
    )


def _watcher() -> Panel:
    return lines(
        About(
            606,
            "Processor time of the background thread",
            "Share of one processor.",
            f"Above {WATCHER:.0%} raise `OTEL_PYTHON_MEMORY_INTERVAL`, and please "
            "report it.",
            8,
            [each(rate(semconv.WATCHER_TIME))],
            looks.SHARE,
        ),
        steps=WATCHER_STEPS,
    )


def _failures() -> Panel:
    return lines(
        About(
            607,
            "Failures, and entry spans not recorded",
            "Exceptions of our own that were kept from the application, and entry "
            "spans that are missing from the histogram of peaks.",
            "Failures: the logger `otel_memory` has the traceback, please report it. "
            "Entries: above some 400 a second the histogram is a sample; nothing to "
            "do.",
            8,
            [
                each(increase(semconv.FAILURES), f"failures {ONE}"),
                each(increase(semconv.ENTRY_DROPPED), f"entries {ONE}"),
            ],
        ),
        bars=True,
    )
