# SPDX-License-Identifier: Apache-2.0
"""Names and values of attributes, and what the special rows are called."""

from __future__ import annotations

SCOPE_NAME = "otel_memory"

# --- Attributes of metrics ---------------------------------------------------

# As the Collector's span metrics call them, so that the two can be joined.
ATTR_SPAN_NAME = "span.name"
ATTR_SPAN_KIND = "span.kind"
ATTR_ENTRY = "otel_memory.entry"
ATTR_SORT = "otel_memory.sort"
ATTR_HEAP_SOURCE = "otel_memory.heap.source"
ATTR_HEAP_REASON = "otel_memory.heap.reason"
ATTR_HEAP_NATIVE_COVERED = "otel_memory.heap.native_covered"
ATTR_PRESSURE_SCOPE = "otel_memory.pressure.scope"
ATTR_LIMIT_EVENT = "otel_memory.limit.event"
# Of the semantic conventions.
ATTR_GC_GENERATION = "cpython.gc.generation"
ATTR_PAGING_FAULT_TYPE = "system.paging.fault.type"

SPAN_ROW_ATTRIBUTES = (ATTR_SPAN_NAME, ATTR_SPAN_KIND, ATTR_ENTRY, ATTR_SORT)

# --- Values of attributes ----------------------------------------------------

SPAN_KINDS = ("SERVER", "CLIENT", "INTERNAL", "PRODUCER", "CONSUMER")
NO_SPAN_KIND = ""
"""The span kind of rows that are not user spans."""

SOURCE_NATIVE = "native"
SOURCE_TRACEMALLOC = "tracemalloc"
SOURCE_OFF = "off"
SOURCE_LOST = "lost"
CHOOSABLE_SOURCES = (SOURCE_NATIVE, SOURCE_TRACEMALLOC, SOURCE_OFF)
SOURCES = (*CHOOSABLE_SOURCES, SOURCE_LOST)

SORT_SPAN = "span"
SORT_NO_SPAN = "no-span"
SORT_TELEMETRY = "telemetry"
SORT_IMPORT = "import"
SORT_AFTER_END = "after-end"
SORT_GC = "gc"
SORT_OTHER = "other"
SORTS = (
    SORT_SPAN,
    SORT_NO_SPAN,
    SORT_TELEMETRY,
    SORT_IMPORT,
    SORT_AFTER_END,
    SORT_GC,
    SORT_OTHER,
)

PRESSURE_CGROUP = "cgroup"
PRESSURE_MACHINE = "machine"
"""Where the cgroup itself tells of no pressure, that of the whole machine."""

LIMIT_EVENT_HIGH = "high"
LIMIT_EVENT_MAX = "max"
LIMIT_EVENT_OOM = "oom"

FAULT_MAJOR = "major"
FAULT_MINOR = "minor"

LEAK_STATES = ("not-enough-data", "warming-up", "steady", "growing", "leaking")
"""The verdict's states, the worst one last; the metric's values are their indices."""

ROW_NO_SPAN = "(no span)"
ROW_TELEMETRY = "(telemetry)"
ROW_IMPORT = "(import)"
ROW_GC = "(gc)"
ROW_OTHER = "(other)"
ROW_BY_SORT = {
    SORT_NO_SPAN: ROW_NO_SPAN,
    SORT_TELEMETRY: ROW_TELEMETRY,
    SORT_IMPORT: ROW_IMPORT,
    SORT_GC: ROW_GC,
    SORT_OTHER: ROW_OTHER,
}
"""Sorts whose rows have one fixed name, which is their entry too."""

AFTER_END_SUFFIX = " (after end)"


def after_end_row(span_name: str) -> str:
    """Name the row of what is born in the contexts of an ended span."""
    return span_name + AFTER_END_SUFFIX
