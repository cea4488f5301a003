# SPDX-License-Identifier: Apache-2.0
"""The dashboard *Spans*: which operation holds the memory, and which churns.

Live bytes are those of every row, and rows that are no spans keep their own names, in
parentheses. What is counted by completed span is asked of spans alone. Deltas of spans
do not add up and are on no panel.
"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from deploy import names
from deploy.grafana import frame, looks, spans_work
from deploy.grafana.figures import SPAN_GROWTH_STEPS
from deploy.grafana.frame import Section, chooser
from deploy.grafana.panels import About, Panel, Query, lines
from deploy.grafana.promql import (
    HOUR_SECONDS,
    PROCESS,
    by,
    select,
    top,
)
from deploy.grafana.span_rows import (
    ENTRY,
    ENTRY_LEGEND,
    OF_ENTRY,
    SPAN,
    SPAN_LEGEND,
    SPANS_ALONE,
    SPANS_AND_OTHER,
    chosen,
    chosen_rate,
)
from deploy.grafana.tables import Figure, Label, rows
from deploy.names import SETTINGS
from otel_memory import semconv

LARGEST = SETTINGS["panels"]["largest"]
LIVE = chosen(semconv.SPAN_LIVE)
_MOST_SECONDS = int(HOUR_SECONDS * SETTINGS["export"]["complete_ratio"])
# A line through the minutes of a start would say gigabytes an hour of any import.
SLOPE = f"deriv({LIVE}[1h]) and {LIVE} offset {_MOST_SECONDS}s"


def build() -> models.Dashboard:
    """Build the dashboard."""
    live = select(semconv.SPAN_LIVE)
    live_of_entry = select(semconv.SPAN_LIVE, OF_ENTRY)
    return frame.dashboard(
        "spans",
        "Live heap and churn by name of span and by entry, the local root: which "
        "endpoint, and which step inside. Rows in parentheses and those that end in "
        "(after end) are no spans: (no span), (telemetry), (import), (gc), and "
        "(other) for names beyond the limit.",
        [
            Section(
                100,
                "Who holds the heap",
                [(10, [_live_by_span(), _live_by_entry()]), (9, [_growth(), _kept()])],
            ),
            *spans_work.sections(),
            Section(400, "All pairs", [(12, [_pairs()])]),
        ],
        variables=[
            chooser("entry", "Entry", f"label_values({live}, {names.ENTRY})"),
            chooser(
                names.SPAN_NAME,
                "Span",
                f"label_values({live_of_entry}, {names.SPAN_NAME})",
            ),
        ],
        annotations=[frame.firing(), frame.raised(), frame.restarts(shown=False)],
    )


def _live_by_span() -> Panel:
    return lines(
        About(
            101,
            "Live heap by span",
            "Bytes that were born in spans of this name and are not freed yet, by "
            f"whomever; the {LARGEST} largest. An estimate from samples, without bias.",
            "A layer that widens while the others stay is where memory is kept. Large "
            "and even is a cache or start-up data. (no span) is code outside of spans: "
            "give it one, or name it in `OTEL_PYTHON_MEMORY_FUNCTIONS`.",
            12,
            [Query(top(by("sum", SPAN, LIVE)), SPAN_LEGEND)],
            looks.BYTES,
        ),
        stacked=True,
    )


def _live_by_entry() -> Panel:
    return lines(
        About(
            102,
            "Live heap by entry",
            "The same bytes under the local root of their span: the endpoint, the "
            f"task or the message; the {LARGEST} largest.",
            "Shows which endpoint to look at; choose it as *Entry* to see which step "
            "inside it holds the memory.",
            12,
            [Query(top(by("sum", ENTRY, LIVE)), ENTRY_LEGEND)],
            looks.BYTES,
        ),
        stacked=True,
    )


def _growth() -> Panel:
    of_process = by("sum", (*PROCESS, *SPAN), SLOPE)
    return lines(
        About(
            103,
            "Growth of live heap by span, bytes an hour",
            "Slope of the live bytes over the last hour, in the process where it is "
            "steepest; from most of an hour on. The first hours of a process are "
            "warm-up and caches that fill.",
            "What stays above the line for hours and under even traffic leaks: "
            "`otel-memory report --pprof` of a profile names the line of code.",
            12,
            [
                Query(
                    top(f"{HOUR_SECONDS} * {by('max', SPAN, of_process)}"), SPAN_LEGEND
                )
            ],
            looks.BYTES,
        ),
        steps=SPAN_GROWTH_STEPS,
        from_zero=False,
    )


def _kept() -> Panel:
    live = by("sum", SPAN, chosen(semconv.SPAN_LIVE, SPANS_ALONE))
    count = by("sum", SPAN, chosen_rate(semconv.SPAN_COUNT, SPANS_ALONE))
    return lines(
        About(
            104,
            "Live bytes per completed span",
            "Live bytes, divided by the spans that complete in an hour at the present "
            "pace. It sets memory against load; spans alone.",
            "Flat while *Live heap* climbs: load, and no leak. Climbing under even "
            "traffic: each call leaves something behind.",
            12,
            [Query(top(f"{live} / ({HOUR_SECONDS} * {count} > 0)"), SPAN_LEGEND)],
            looks.BYTES,
        )
    )


def _pairs() -> Panel:
    pair = (names.SPAN_NAME, names.ENTRY, names.SPAN_KIND, names.SORT)
    return rows(
        About(
            401,
            "Spans and their entries",
            "All pairs of the chosen processes, now. Live, growth and allocated are "
            "of the span itself, the peak with its children. Growth and peak are of "
            "the process where they are largest, the others sums. Rows that are no "
            "spans have no count and no peak.",
            "Sort by *growth an hour* for the suspect, by *live* for what fills the "
            "heap, by *peak* for what sets the size of the container.",
            24,
        ),
        [
            Label("Span", names.SPAN_NAME),
            Label("Entry", names.ENTRY),
            Label("Kind", names.SPAN_KIND),
            Label("Sort", names.SORT),
        ],
        [
            Figure("Live", by("sum", pair, LIVE), looks.BYTES),
            Figure(
                "Growth an hour",
                f"{HOUR_SECONDS} * {by('max', pair, SLOPE)}",
                looks.BYTES,
                SPAN_GROWTH_STEPS,
                "color-text",
                width_pixels=140,
            ),
            Figure(
                "Allocated",
                by("sum", pair, chosen_rate(semconv.SPAN_ALLOCATED)),
                looks.BYTES_PER_SECOND,
                width_pixels=110,
            ),
            Figure(
                "Completed",
                by("sum", pair, chosen_rate(semconv.SPAN_COUNT, SPANS_AND_OTHER)),
                looks.PER_SECOND,
                width_pixels=110,
            ),
            Figure(
                "Peak",
                by("max", pair, chosen(semconv.SPAN_PEAK, SPANS_AND_OTHER)),
                looks.BYTES,
            ),
        ],
        sort_by="Live",
    )
