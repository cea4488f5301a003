# SPDX-License-Identifier: Apache-2.0
"""Of the dashboard *Spans*: who churns, and what single spans need."""

from __future__ import annotations

from deploy import names
from deploy.grafana import looks
from deploy.grafana.frame import Section
from deploy.grafana.panels import About, Panel, Query, heat, lines
from deploy.grafana.promql import by, rate, top
from deploy.grafana.span_rows import (
    OWN_ENTRY,
    SPAN,
    SPAN_LEGEND,
    SPANS_ALONE,
    SPANS_AND_OTHER,
    chosen,
    chosen_rate,
)
from deploy.names import SETTINGS
from otel_memory import semconv


def sections() -> list[Section]:
    """Give the middle of the dashboard."""
    return [
        Section(
            200,
            "Who churns",
            [(9, [_allocated(), _completed(), _allocated_each()])],
        ),
        Section(
            300,
            "Single spans",
            [(9, [_largest(), _quantile()]), (9, [_histogram()])],
        ),
    ]


def _allocated() -> Panel:
    return lines(
        About(
            201,
            "Allocated by span",
            "Bytes by second that were handed out while such spans themselves were "
            "current, without their children. It never falls and says nothing about "
            "what is kept.",
            "The first one is where fewer copies, or reading in pieces, saves "
            "processor time and peaks. (telemetry) is OpenTelemetry's own work: "
            "sample less if it is large.",
            8,
            [
                Query(
                    top(by("sum", SPAN, chosen_rate(semconv.SPAN_ALLOCATED))),
                    SPAN_LEGEND,
                )
            ],
            looks.BYTES_PER_SECOND,
        )
    )


def _completed() -> Panel:
    return lines(
        About(
            202,
            "Completed spans",
            "Spans that ended, by second, sampled or not. (other) are those whose "
            "names have no series of their own.",
            "Compare its shape with *Live heap by span*: memory that follows it is "
            "work in progress.",
            8,
            [
                Query(
                    top(
                        by(
                            "sum",
                            SPAN,
                            chosen_rate(semconv.SPAN_COUNT, SPANS_AND_OTHER),
                        )
                    ),
                    SPAN_LEGEND,
                )
            ],
            looks.PER_SECOND,
        )
    )


def _allocated_each() -> Panel:
    allocated = by("sum", SPAN, chosen_rate(semconv.SPAN_ALLOCATED, SPANS_ALONE))
    count = by("sum", SPAN, chosen_rate(semconv.SPAN_COUNT, SPANS_ALONE))
    return lines(
        About(
            203,
            "Allocated per completed span",
            "What one span of this name hands out on average; spans alone.",
            "A step up is a change of code or of the data that it reads: compare with "
            "the last deploy.",
            8,
            [Query(top(f"{allocated} / ({count} > 0)"), SPAN_LEGEND)],
            looks.BYTES,
        )
    )


def _largest() -> Panel:
    share = SETTINGS["spans"]["request_ratio"]
    return lines(
        About(
            301,
            "Largest single span",
            "The highest peak of a single span of this name in the last one to two "
            "minutes, with its children: what one call needs at once.",
            f"Above {share:.0%} of the limit, a few such calls at once are a kill: "
            "page through the data, stream it, or bound the calls in parallel.",
            12,
            [
                Query(
                    top(by("max", SPAN, chosen(semconv.SPAN_PEAK, SPANS_AND_OTHER))),
                    SPAN_LEGEND,
                )
            ],
            looks.BYTES,
        )
    )


def _buckets(*labels: str) -> str:
    # The histogram's spans are entries, under their own names.
    buckets = rate(semconv.ENTRY_PEAK, OWN_ENTRY, suffix="_bucket")
    return by("sum", (names.BUCKET, *labels), buckets)


def _quantile() -> Panel:
    return lines(
        About(
            302,
            "Peak of entry spans, 95th percentile",
            "95 of 100 entry spans needed less than this at once; from a histogram "
            "whose buckets are four times as wide each.",
            "Multiply it by the calls in parallel, add the base, and compare with the "
            "limit. Points are exemplars: click one for its trace.",
            12,
            [
                Query(
                    top(f"histogram_quantile(0.95, {_buckets(names.SPAN_NAME)})"),
                    SPAN_LEGEND,
                    exemplars=True,
                )
            ],
            looks.BYTES,
        )
    )


def _histogram() -> Panel:
    return heat(
        About(
            303,
            "Peaks of entry spans",
            "How many entry spans needed how much at once. Points are exemplars of "
            "single spans, sampled ones.",
            "Click a high point to open its trace and find the span with the largest "
            "`otel_memory.heap.peak`. No points: the data source needs "
            "`exemplarTraceIdDestinations`, and Prometheus its exemplar storage.",
            24,
            [Query(_buckets(), f"{{{{{names.BUCKET}}}}}", exemplars=True)],
            looks.BYTES,
        )
    )
