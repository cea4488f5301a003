# SPDX-License-Identifier: Apache-2.0
"""The table of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from otel_memory.semconv._names import (
    ATTR_HEAP_NATIVE_COVERED,
    ATTR_HEAP_REASON,
    ATTR_HEAP_SOURCE,
    SPAN_ROW_ATTRIBUTES,
)


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
