# SPDX-License-Identifier: Apache-2.0
"""How each row of the table of metrics is read.

What is not known is left out, and never shown as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from opentelemetry.metrics import Observation

from otel_memory import _guard, semconv
from otel_memory.heap import Pair
from otel_memory.metrics._readout import Readout
from otel_memory.semconv import Metric

Reader: TypeAlias = Callable[[Readout], Iterable[Observation]]
Attributes: TypeAlias = dict[str, Any]


def one(
    value: float | None, attributes: Attributes | None = None
) -> Iterator[Observation]:
    """Observe one value, or none where it is not known."""
    if value is not None:
        yield Observation(value, attributes)


def rss(readout: Readout) -> Iterator[Observation]:
    """Resident set size."""
    resident = readout.readings.resident()
    return one(resident and resident.rss_bytes)


def uptime(readout: Readout) -> Iterator[Observation]:
    """Time since the process started."""
    return one(readout.readings.uptime_seconds())


def _anonymous(readout: Readout) -> Iterator[Observation]:
    resident = readout.readings.resident()
    return one(resident and resident.anonymous_bytes)


def _detail(field: str) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        return one(getattr(readout.findings.details, field, None))

    return read


def _limit(readout: Readout) -> Iterator[Observation]:
    return one(readout.config.limit_bytes or readout.readings.limit_bytes())


def _limit_usage(readout: Readout) -> Iterator[Observation]:
    if readout.config.limit_bytes:
        return rss(readout)
    return one(readout.readings.limit_usage_bytes())


def _limit_events(readout: Readout) -> Iterator[Observation]:
    events = readout.readings.limit_events()
    for event in (
        semconv.LIMIT_EVENT_HIGH,
        semconv.LIMIT_EVENT_MAX,
        semconv.LIMIT_EVENT_OOM,
    ):
        attributes = {semconv.ATTR_LIMIT_EVENT: event}
        yield from one(getattr(events, event, None), attributes)


def _oom_kills(readout: Readout) -> Iterator[Observation]:
    events = readout.readings.limit_events()
    return one(events and events.oom_kill)


def _pressure(field: str) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        pressure = readout.readings.pressure()
        if pressure is not None:
            attributes = {semconv.ATTR_PRESSURE_SCOPE: pressure.scope}
            yield from one(getattr(pressure, field), attributes)

    return read


def _collections(field: str) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        for row in readout.source.collections():
            attributes = {semconv.ATTR_GC_GENERATION: row.generation}
            yield from one(getattr(row, field), attributes)

    return read


def _source(readout: Readout) -> Iterator[Observation]:
    source = readout.source
    return one(
        1,
        {
            semconv.ATTR_HEAP_SOURCE: source.name,
            semconv.ATTR_HEAP_REASON: source.reason or "",
            semconv.ATTR_HEAP_NATIVE_COVERED: source.native_covered,
        },
    )


def _growth(readout: Readout) -> Iterator[Observation]:
    assessment = readout.findings.assessment
    return one(None if assessment is None else assessment.growth_bytes_per_hour)


def _leak_state(readout: Readout) -> Iterator[Observation]:
    # From the start: a state that comes late is taken for a process that came late.
    assessment = readout.findings.assessment
    state = semconv.LEAK_STATES[0] if assessment is None else assessment.state
    return one(semconv.LEAK_STATES.index(state))


def _attributes(pair: Pair) -> Attributes:
    return {
        semconv.ATTR_SPAN_NAME: pair.name,
        semconv.ATTR_SPAN_KIND: pair.kind,
        semconv.ATTR_ENTRY: pair.entry,
        semconv.ATTR_SORT: pair.sort,
    }


# For the others nothing completes, and what they allocate has no peak.
_SORTS_OF_COMPLETED = frozenset({semconv.SORT_SPAN, semconv.SORT_OTHER})

# Not every row has every figure. Live bytes every row has: what finalizers keep that
# run in a full collection is born in (gc).
_UNMEASURED = {
    "count": frozenset(semconv.SORTS) - _SORTS_OF_COMPLETED,
    # Charged to the spans that were current; only their birth is set apart.
    "allocated_bytes": frozenset({semconv.SORT_IMPORT}),
    "peak_bytes": frozenset(semconv.SORTS) - _SORTS_OF_COMPLETED,
}


def _by_pair(field: str, *, refreshes: bool = False, sampled: bool = False) -> Reader:
    unmeasured = _UNMEASURED.get(field, frozenset())

    def read(readout: Readout) -> Iterator[Observation]:
        pairs = readout.refresh_pairs() if refreshes else readout.pairs()
        if sampled and readout.source.health() is None:
            return  # no sampler: unknown, which is not 0
        for pair in pairs:
            if pair.sort not in unmeasured:
                yield Observation(getattr(pair, field), _attributes(pair))

    return read


def _by_health(field: str) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        health = readout.source.health()
        return one(None if health is None else getattr(health, field))

    return read


def _where_spans_are_counted(value: Callable[[Readout], int]) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        is_counted = readout.source.completed() is not None
        return one(value(readout) if is_counted else None)

    return read


def _alerts(readout: Readout) -> Iterator[Observation]:
    for kind in semconv.ALERT_KINDS:
        attributes = {semconv.ATTR_ALERT_KIND: kind}
        yield Observation(readout.findings.alerts[kind], attributes)


# In the order of registration, which is the order of a collection: the first row
# instrument refreshes, the others show the same reading.
READERS: tuple[tuple[Metric, Reader], ...] = (
    (semconv.PROCESS_RSS, rss),
    (semconv.PROCESS_ANONYMOUS, _anonymous),
    (semconv.PROCESS_PEAK, lambda readout: one(readout.readings.peak_bytes())),
    (semconv.PROCESS_UPTIME, uptime),
    (semconv.PROCESS_USS, _detail("uss_bytes")),
    (semconv.PROCESS_PSS, _detail("pss_bytes")),
    (semconv.PROCESS_SWAP, _detail("swap_bytes")),
    (semconv.LIMIT, _limit),
    (semconv.LIMIT_USAGE, _limit_usage),
    (semconv.LIMIT_EVENTS, _limit_events),
    (semconv.OOM_KILLS, _oom_kills),
    (semconv.PRESSURE_SOME, _pressure("some_seconds")),
    (semconv.PRESSURE_FULL, _pressure("full_seconds")),
    (semconv.HEAP_USAGE, lambda readout: one(readout.source.usage_bytes())),
    (semconv.HEAP_SOURCE, _source),
    (semconv.GC_PAUSE, _collections("pause_seconds")),
    (semconv.GC_FREED, _collections("freed_bytes")),
    (semconv.GROWTH, _growth),
    (semconv.LEAK_STATE, _leak_state),
    (semconv.SPAN_COUNT, _by_pair("count", refreshes=True)),
    (semconv.SPAN_ALLOCATED, _by_pair("allocated_bytes")),
    (semconv.SPAN_LIVE, _by_pair("live_bytes", sampled=True)),
    (semconv.SPAN_PEAK, _by_pair("peak_bytes")),
    (semconv.SPAN_NAMES, _where_spans_are_counted(Readout.names_count)),
    (semconv.SPAN_NAMES_REFUSED, _where_spans_are_counted(Readout.refused_count)),
    (
        semconv.ENTRY_DROPPED,
        _where_spans_are_counted(lambda readout: readout.source.entries_dropped()),
    ),
    (semconv.SAMPLER_SAMPLES, _by_health("samples")),
    (semconv.SAMPLER_DROPPED, _by_health("dropped")),
    (semconv.SAMPLER_TABLE_USAGE, _by_health("live_samples")),
    (semconv.SAMPLER_MEMORY, _by_health("memory_bytes")),
    (semconv.WATCHER_TIME, lambda readout: one(readout.findings.watcher_seconds)),
    (semconv.ALERTS, _alerts),
    (semconv.FAILURES, lambda readout: one(_guard.failure_count())),
)
