# SPDX-License-Identifier: Apache-2.0
"""How many series a process has, and what many processes cost.

Counted from the table of metrics, so that a new metric is counted too. `python
deploy/scale.py` prints the table of docs/scale.md; a test compares it with that, and
the count with what a real process emits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from deploy import names  # noqa: E402 - only now the root is on the path
from deploy.rules.series import RECORDINGS  # noqa: E402
from otel_memory import semconv  # noqa: E402
from otel_memory.config import MemoryConfig  # noqa: E402
from otel_memory.semconv import Kind, Metric  # noqa: E402

MAX_SPAN_NAMES = MemoryConfig().max_span_names
PROCESSES = 1000
BYTES_PER_SAMPLE = 2
"""On disk: Prometheus's own documentation says one to two."""
SDK_ROWS_MAX = 2000
"""Attribute sets of one instrument, by the SDK's own limit."""

_VALUES = {
    semconv.ATTR_LIMIT_EVENT: 3,
    semconv.ATTR_PRESSURE_SCOPE: 1,
    semconv.ATTR_GC_GENERATION: 3,
    semconv.ATTR_PAGING_FAULT_TYPE: 2,
    semconv.ATTR_ALERT_KIND: len(semconv.ALERT_KINDS),
    semconv.ATTR_HEAP_SOURCE: 1,
    semconv.ATTR_HEAP_REASON: 1,
    semconv.ATTR_HEAP_NATIVE_COVERED: 1,
}
# Rows that are no spans have neither a count nor a peak; imports are live alone.
_METRICS_BY_SORT = {
    semconv.SORT_SPAN: 4,
    semconv.SORT_OTHER: 4,
    semconv.SORT_NO_SPAN: 2,
    semconv.SORT_TELEMETRY: 2,
    semconv.SORT_AFTER_END: 2,
    semconv.SORT_GC: 2,
    semconv.SORT_IMPORT: 1,
}
ON_REQUEST = (semconv.PROCESS_USS, semconv.PROCESS_PSS, semconv.PROCESS_SWAP)


@dataclass(frozen=True)
class Shape:
    """What of a service decides how many series its processes have.

    Attributes:
        title: In a few words.
        entries: Different entry spans, (other) among them where there is one.
        rows: Different pairs of entry and span, kind included; an entry is a row too.
        names: Different names of spans among the rows.
        watched: Those that hold more than `spans.watched_bytes`.
    """

    title: str
    entries: int
    rows: int
    names: int
    watched: int = 3


SHAPES = (
    Shape("a worker with a few kinds of jobs", 5, 15, 12),
    Shape("a service of 30 endpoints", 30, 120, 60),
    Shape("a service of 100 endpoints", 100, 500, MAX_SPAN_NAMES, 10),
    Shape(
        f"no more than {MAX_SPAN_NAMES} names, each below many entries",
        100,
        SDK_ROWS_MAX,
        MAX_SPAN_NAMES,
        10,
    ),
)


def of_process(absent: frozenset[Metric] = frozenset(ON_REQUEST)) -> int:
    """Count the series that a process has once, whatever its spans.

    Args:
        absent: Metrics that it does not have.
    """
    return sum(
        _once(metric)
        for metric in (*semconv.METRICS, *semconv.CONVENTION_METRICS)
        if metric not in absent
    )


def of_entry() -> int:
    """Count the histogram's series of one entry span."""
    infinite, sum_and_count = 1, 2
    return len(semconv.ENTRY_PEAK.boundaries) + infinite + sum_and_count


def of_rows(rows: dict[str, int]) -> int:
    """Count the series of rows, given how many there are of each sort."""
    return sum(_METRICS_BY_SORT[sort] * count for sort, count in rows.items())


def series(shape: Shape) -> int:
    """Count the series of one process that has all metrics and rows of all sorts."""
    in_parentheses = dict.fromkeys(semconv.ROW_BY_SORT, 1)
    rows = {**in_parentheses, semconv.SORT_SPAN: shape.rows}
    return of_process() + of_entry() * shape.entries + of_rows(rows)


def recorded(shape: Shape) -> int:
    """Count the series that the recording rules add for one process."""
    counts = {"process": 1, "names": shape.names, "watched": shape.watched}
    return sum(counts[each] for each in _recordings())


def _recordings() -> Iterator[str]:
    """Tell of each recording what it has a series for."""
    for each in RECORDINGS:
        if ":span_" not in each.name:
            yield "process"
        elif ":span_heap_live" in each.name:
            yield "watched"
        else:
            yield "names"


def _once(metric: Metric) -> int:
    if metric.attributes == semconv.SPAN_ROW_ATTRIBUTES:
        return 0
    if metric.kind is Kind.HISTOGRAM:
        return 0
    count = 1
    for attribute in metric.attributes:
        count *= _VALUES[attribute]
    return count


def table() -> str:
    """Write the table of docs/scale.md."""
    seconds = names.SETTINGS["export"]["interval_seconds"]
    lines = [
        f"| | series | recorded | {PROCESSES:,} processes: series | samples a second | "
        "disk a day |",
        "|---|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        own, more = series(shape), recorded(shape)
        all_series = (own + more) * PROCESSES
        per_second = own * PROCESSES / seconds + more * PROCESSES / 60
        disk_gb = per_second * 86400 * BYTES_PER_SAMPLE / 1e9
        lines.append(
            f"| {shape.title} | {own:,} | {more} | {all_series / 1e6:.2g} million "
            f"| {per_second:,.0f} | {disk_gb:.2g} GB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
