# SPDX-License-Identifier: Apache-2.0
"""Rows of spans: how they are chosen, which of them are spans, what they are called."""

from __future__ import annotations

from deploy import names
from deploy.grafana.promql import equals, one_of, rate, select
from otel_memory import semconv
from otel_memory.semconv import Metric

OF_SPAN = f'{names.SPAN_NAME}=~"$span_name"'
OF_ENTRY = f'{names.ENTRY}=~"$entry"'
OWN_ENTRY = f'{names.SPAN_NAME}=~"$entry"'
# (other) sums up spans whose names have no series of their own.
SPANS_AND_OTHER = one_of(names.SORT, semconv.SORT_SPAN, semconv.SORT_OTHER)
SPANS_ALONE = equals(names.SORT, semconv.SORT_SPAN)
# A span may be called as one of our rows: the sort tells them apart.
SPAN = (names.SPAN_NAME, names.SORT)
ENTRY = (names.ENTRY, names.SORT)
SPAN_LEGEND = f"{{{{{names.SPAN_NAME}}}}}"
ENTRY_LEGEND = f"{{{{{names.ENTRY}}}}}"


def chosen(metric: Metric, *matchers: str) -> str:
    """Select the rows of the chosen spans and entries."""
    return select(metric, OF_SPAN, OF_ENTRY, *matchers)


def chosen_rate(metric: Metric, *matchers: str) -> str:
    """Give the increase by second of the same."""
    return rate(metric, OF_SPAN, OF_ENTRY, *matchers)
