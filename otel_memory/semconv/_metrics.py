# SPDX-License-Identifier: Apache-2.0
"""The table of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from otel_memory.semconv._events import ATTR_ALERT_KIND
from otel_memory.semconv._names import (
    ATTR_GC_GENERATION,
    ATTR_HEAP_NATIVE_COVERED,
    ATTR_HEAP_REASON,
    ATTR_HEAP_SOURCE,
    ATTR_LIMIT_EVENT,
    ATTR_PAGING_FAULT_TYPE,
    ATTR_PRESSURE_SCOPE,
    ATTR_SPAN_KIND,
    ATTR_SPAN_NAME,
    SPAN_ROW_ATTRIBUTES,
)


class Kind(Enum):
    """Kinds of instrument; a value completes `Meter.create_<value>`."""

    OBSERVABLE_COUNTER = "observable_counter"
    OBSERVABLE_UP_DOWN_COUNTER = "observable_up_down_counter"
    OBSERVABLE_GAUGE = "observable_gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: The instrument's name.
        kind: The kind of instrument.
        unit: UCUM unit.
        description: One sentence for backends and documentation.
        attributes: Names of the attributes that every data point carries.
        boundaries: Of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    boundaries: tuple[int, ...] = ()


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

PROCESS_USS = Metric(
    "otel_memory.process.uss",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Memory that only this process holds and that its end would free; where "
    "OTEL_PYTHON_MEMORY_SMAPS asks for it.",
)
PROCESS_PSS = Metric(
    "otel_memory.process.pss",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Resident memory with shared pages divided by the processes that share them; "
    "where OTEL_PYTHON_MEMORY_SMAPS asks for it.",
)
PROCESS_SWAP = Metric(
    "otel_memory.process.swap",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Memory of the process that is swapped out; where OTEL_PYTHON_MEMORY_SMAPS asks "
    "for it.",
)
LIMIT_USAGE = Metric(
    "otel_memory.limit.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "What counts against the limit and cannot be reclaimed: the container's memory "
    "without file cache, or the process's own where the limit is configured.",
)
LIMIT_EVENTS = Metric(
    "otel_memory.limit.events",
    Kind.OBSERVABLE_COUNTER,
    "{event}",
    "Times that the container reached its limits: its high mark, its maximum, or "
    "found nothing to reclaim.",
    (ATTR_LIMIT_EVENT,),
)
OOM_KILLS = Metric(
    "otel_memory.oom.kills",
    Kind.OBSERVABLE_COUNTER,
    "{kill}",
    "Processes of the container that the kernel killed for want of memory.",
)
PRESSURE_SOME = Metric(
    "otel_memory.pressure.some.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Time in which some tasks waited for memory.",
    (ATTR_PRESSURE_SCOPE,),
)
PRESSURE_FULL = Metric(
    "otel_memory.pressure.full.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Time in which all tasks waited for memory.",
    (ATTR_PRESSURE_SCOPE,),
)
GC_PAUSE = Metric(
    "otel_memory.gc.pause.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Time in which the cyclic garbage collector held the process up.",
    (ATTR_GC_GENERATION,),
)
GC_FREED = Metric(
    "otel_memory.gc.freed",
    Kind.OBSERVABLE_COUNTER,
    "By",
    "Bytes that the cyclic garbage collector gave back to the allocators.",
    (ATTR_GC_GENERATION,),
)
GROWTH = Metric(
    "otel_memory.growth",
    Kind.OBSERVABLE_GAUGE,
    "By/h",
    "Growth of the process's anonymous memory, on its floor, by the last verdict; "
    "absent until there is one.",
)
LEAK_STATE = Metric(
    "otel_memory.leak.state",
    Kind.OBSERVABLE_GAUGE,
    "{state}",
    "The verdict: 0 not enough data, 1 warming up, 2 steady, 3 growing, 4 leaking.",
)
ENTRY_PEAK = Metric(
    "otel_memory.entry.heap.peak",
    Kind.HISTOGRAM,
    "By",
    "Peaks of single entry spans, with exemplars that lead to the trace.",
    (ATTR_SPAN_NAME, ATTR_SPAN_KIND),
    tuple(4**power * 1024 for power in range(11)),
)
ENTRY_DROPPED = Metric(
    "otel_memory.entry.dropped",
    Kind.OBSERVABLE_COUNTER,
    "{span}",
    "Entry spans that are missing from the histogram of peaks, for too many ended "
    "between two looks.",
)
SAMPLER_MEMORY = Metric(
    "otel_memory.sampler.memory",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "What samples, stacks, rows and spans' accounts take themselves.",
)
SPAN_NAMES = Metric(
    "otel_memory.span.names",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{name}",
    "Names of spans and entries that have series of their own.",
)
SPAN_NAMES_REFUSED = Metric(
    "otel_memory.span.names.refused",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{name}",
    "Names that mattered and are part of (other), for the limit of names is reached.",
)
WATCHER_TIME = Metric(
    "otel_memory.watcher.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Processor time that the background thread has taken.",
)
ALERTS = Metric(
    "otel_memory.alerts",
    Kind.OBSERVABLE_COUNTER,
    "{alert}",
    "Alerts that were raised in the process.",
    (ATTR_ALERT_KIND,),
)
FAILURES = Metric(
    "otel_memory.failures",
    Kind.OBSERVABLE_COUNTER,
    "{failure}",
    "Failures of otel-memory itself, which did not reach the application.",
)

METRICS = (
    PROCESS_RSS,
    PROCESS_ANONYMOUS,
    PROCESS_PEAK,
    PROCESS_UPTIME,
    PROCESS_USS,
    PROCESS_PSS,
    PROCESS_SWAP,
    LIMIT,
    LIMIT_USAGE,
    LIMIT_EVENTS,
    OOM_KILLS,
    PRESSURE_SOME,
    PRESSURE_FULL,
    HEAP_USAGE,
    HEAP_SOURCE,
    GC_PAUSE,
    GC_FREED,
    GROWTH,
    LEAK_STATE,
    SPAN_COUNT,
    SPAN_ALLOCATED,
    SPAN_LIVE,
    SPAN_PEAK,
    SPAN_NAMES,
    SPAN_NAMES_REFUSED,
    ENTRY_PEAK,
    ENTRY_DROPPED,
    SAMPLER_SAMPLES,
    SAMPLER_DROPPED,
    SAMPLER_TABLE_USAGE,
    SAMPLER_MEMORY,
    WATCHER_TIME,
    ALERTS,
    FAILURES,
)
"""Ours: always there where they can be measured; rules and dashboards use only these."""

CONVENTION_USAGE = Metric(
    "process.memory.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "The amount of physical memory in use.",
)
CONVENTION_VIRTUAL = Metric(
    "process.memory.virtual",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "The amount of committed virtual memory.",
)
CONVENTION_FAULTS = Metric(
    "process.paging.faults",
    Kind.OBSERVABLE_COUNTER,
    "{fault}",
    "Number of page faults the process has made.",
    (ATTR_PAGING_FAULT_TYPE,),
)
CONVENTION_UPTIME = Metric(
    "process.uptime",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "The time the process has been running.",
)
CONVENTION_GC_COLLECTIONS = Metric(
    "cpython.gc.collections",
    Kind.OBSERVABLE_COUNTER,
    "{collection}",
    "The number of times a generation was collected since interpreter start.",
    (ATTR_GC_GENERATION,),
)
CONVENTION_GC_COLLECTED = Metric(
    "cpython.gc.collected_objects",
    Kind.OBSERVABLE_COUNTER,
    "{object}",
    "The total number of objects collected inside a generation since interpreter "
    "start.",
    (ATTR_GC_GENERATION,),
)
CONVENTION_GC_UNCOLLECTABLE = Metric(
    "cpython.gc.uncollectable_objects",
    Kind.OBSERVABLE_COUNTER,
    "{object}",
    "The total number of objects which were found to be uncollectable inside a "
    "generation since interpreter start.",
    (ATTR_GC_GENERATION,),
)

CONVENTION_METRICS = (
    CONVENTION_USAGE,
    CONVENTION_VIRTUAL,
    CONVENTION_FAULTS,
    CONVENTION_UPTIME,
    CONVENTION_GC_COLLECTIONS,
    CONVENTION_GC_COLLECTED,
    CONVENTION_GC_UNCOLLECTABLE,
)
"""Of OpenTelemetry's semantic conventions; left out where another one emits them."""
