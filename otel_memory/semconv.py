# SPDX-License-Identifier: Apache-2.0
"""Every metric, attribute and event name of otel-memory, as one table.

Code, README, dashboards and tests read names, kinds, units and descriptions here
and nowhere else. Nothing is imported from OpenTelemetry, so that the table is
usable where no SDK is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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


# --- Log events --------------------------------------------------------------

EVENT_HEAP_PROFILE = "otel_memory.heap.profile"
ATTR_PROFILE_FINAL = "otel_memory.profile.final"
ATTR_PROFILE_ON_DEMAND = "otel_memory.profile.on_demand"
"""True where somebody asked for the profile: the process went on after that."""
PROFILE_SCHEMA = 1
"""Version of the JSON in the body of the profile event."""
AGE_EDGES_SECONDS = (10, 60, 600, 3600)
"""Where live bytes are split by age; one number more than edges."""

# --- Attributes of spans -----------------------------------------------------


@dataclass(frozen=True)
class SpanAttribute:
    """One attribute that is written to spans.

    Attributes:
        name: The attribute's name.
        type: Its type in OpenTelemetry's words: `int`, `bool` or `string[]`.
        unit: UCUM unit, or "" where there is none.
        description: One sentence for the documentation.
    """

    name: str
    type: str
    unit: str
    description: str


SPAN_HEAP_ALLOCATED = "otel_memory.heap.allocated"
SPAN_HEAP_DELTA = "otel_memory.heap.delta"
SPAN_HEAP_PEAK = "otel_memory.heap.peak"
SPAN_HEAP_SELF_ALLOCATED = "otel_memory.heap.self.allocated"
SPAN_RSS_DELTA = "otel_memory.rss.delta"
SPAN_RSS_EXCLUSIVE = "otel_memory.rss.exclusive"
SPAN_HEAP_TOP_SITES = "otel_memory.heap.top_sites"

SPAN_ATTRIBUTES = (
    SpanAttribute(
        SPAN_HEAP_ALLOCATED,
        "int",
        "By",
        "Bytes handed out while the span or its descendants were current.",
    ),
    SpanAttribute(
        SPAN_HEAP_DELTA,
        "int",
        "By",
        "Bytes handed out minus bytes given back meanwhile, whoever had allocated "
        "them. Signed; does not add up to retention.",
    ),
    SpanAttribute(
        SPAN_HEAP_PEAK,
        "int",
        "By",
        "The highest delta reached during the span; an upper bound where child "
        "spans overlap.",
    ),
    SpanAttribute(
        SPAN_HEAP_SELF_ALLOCATED,
        "int",
        "By",
        "Bytes handed out while this span itself was current, without its children.",
    ),
    SpanAttribute(
        SPAN_RSS_DELTA,
        "int",
        "By",
        "Growth of the whole process's resident set size during the span.",
    ),
    SpanAttribute(
        SPAN_RSS_EXCLUSIVE,
        "bool",
        "",
        "True when no other entry span overlapped, so that the RSS delta is this "
        "span's own.",
    ),
    SpanAttribute(
        SPAN_HEAP_TOP_SITES,
        "string[]",
        "",
        "The source lines that allocated most, at most five, as `shop/cache.py:41 "
        "get_product_list 118.9 MiB`; on spans that allocated 8 MiB or another "
        "threshold.",
    ),
)

# --- Metrics -----------------------------------------------------------------


class Kind(Enum):
    """Kinds of instrument; a value completes `Meter.create_<value>`."""

    OBSERVABLE_COUNTER = "observable_counter"
    OBSERVABLE_UP_DOWN_COUNTER = "observable_up_down_counter"
    OBSERVABLE_GAUGE = "observable_gauge"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: The instrument's name.
        kind: The kind of instrument.
        unit: UCUM unit.
        description: One sentence for backends and documentation.
        attributes: Names of the attributes that every data point carries.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


PROCESS_RSS = Metric(
    "otel_memory.process.rss",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Resident set size of the process.",
)
PROCESS_ANONYMOUS = Metric(
    "otel_memory.process.anonymous",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Resident set size without file and shared pages; growth is judged on it.",
)
PROCESS_PEAK = Metric(
    "otel_memory.process.peak",
    Kind.OBSERVABLE_GAUGE,
    "By",
    "The largest resident set size that the process ever had.",
)
PROCESS_UPTIME = Metric(
    "otel_memory.process.uptime",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "Time since the process started.",
)
LIMIT = Metric(
    "otel_memory.limit",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Memory limit of the container, or the configured one; absent without a limit.",
)
HEAP_USAGE = Metric(
    "otel_memory.heap.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Bytes that the allocators handed out and have not got back.",
)
HEAP_SOURCE = Metric(
    "otel_memory.heap.source",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{process}",
    "Always 1; its attributes say where the process's heap figures come from.",
    (ATTR_HEAP_SOURCE, ATTR_HEAP_REASON, ATTR_HEAP_NATIVE_COVERED),
)
SPAN_COUNT = Metric(
    "otel_memory.span.count",
    Kind.OBSERVABLE_COUNTER,
    "{span}",
    "Completed spans.",
    SPAN_ROW_ATTRIBUTES,
)
SPAN_ALLOCATED = Metric(
    "otel_memory.span.heap.allocated",
    Kind.OBSERVABLE_COUNTER,
    "By",
    "Bytes handed out while such a span itself was current.",
    SPAN_ROW_ATTRIBUTES,
)
SPAN_LIVE = Metric(
    "otel_memory.span.heap.live",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Bytes born in such spans and not freed yet, by whomever; an unbiased estimate.",
    SPAN_ROW_ATTRIBUTES,
)
SPAN_PEAK = Metric(
    "otel_memory.span.heap.peak",
    Kind.OBSERVABLE_GAUGE,
    "By",
    "The largest peak of a single such span in the last one to two minutes.",
    SPAN_ROW_ATTRIBUTES,
)
SAMPLER_SAMPLES = Metric(
    "otel_memory.sampler.samples",
    Kind.OBSERVABLE_COUNTER,
    "{sample}",
    "Allocations that the live-heap sampler took.",
)
SAMPLER_DROPPED = Metric(
    "otel_memory.sampler.dropped",
    Kind.OBSERVABLE_COUNTER,
    "{sample}",
    "Allocations that the live-heap sampler should have kept and could not.",
)
SAMPLER_TABLE_USAGE = Metric(
    "otel_memory.sampler.table.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{sample}",
    "Samples of blocks that are alive, in the sampler's bounded table.",
)

METRICS = (
    PROCESS_RSS,
    PROCESS_ANONYMOUS,
    PROCESS_PEAK,
    PROCESS_UPTIME,
    LIMIT,
    HEAP_USAGE,
    HEAP_SOURCE,
    SPAN_COUNT,
    SPAN_ALLOCATED,
    SPAN_LIVE,
    SPAN_PEAK,
    SAMPLER_SAMPLES,
    SAMPLER_DROPPED,
    SAMPLER_TABLE_USAGE,
)
