# SPDX-License-Identifier: Apache-2.0
"""Register what `semconv` lists as observable instruments.

Callbacks read plain integers on the reader's thread; nothing on a span's path touches
an instrument. They cannot be unregistered, and registering an instrument again drops
the new callback, so the callbacks are of this module, for good, and ask for what is
current: after `stop` they observe nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from otel_memory import _guard, semconv
from otel_memory.config import MemoryConfig
from otel_memory.heap import HeapSource, Pair
from otel_memory.heap._admission import Admission
from otel_memory.process import Readings, open_readings
from otel_memory.semconv import Metric

# Of the process, like the core's counts: both go on after `uninstrument()`, or
# (other) would fall. The lock is for two readers that collect at once.
_admission = Admission(0)
_lock = threading.Lock()


def _count_anew() -> None:
    """In a forked child: counts are from zero, and nobody will release the lock."""
    global _admission, _lock
    _admission, _lock = Admission(_admission.max_names), threading.Lock()


os.register_at_fork(after_in_child=_count_anew)


class Readout:
    """What the callbacks read from. One per `instrument()`.

    Args:
        source: Where heap figures come from.
        config: The settings.
    """

    def __init__(self, source: HeapSource, config: MemoryConfig) -> None:
        self.source = source
        self.config = config
        self.readings: Readings = open_readings()
        self._pairs: list[Pair] = []
        _admission.max_names = config.max_span_names

    def refresh_pairs(self) -> list[Pair]:
        """Read the rows anew, for the first of the instruments that show them."""
        with _lock:
            self._pairs, retirable = _admission.admit(self.source.pairs())
            self.source.retire(retirable)
            return self._pairs

    def pairs(self) -> list[Pair]:
        """The rows as last read, so that instruments of one collection agree."""
        return self._pairs


class _Moment(Readout):
    """A readout apart from the instruments', whose rows are given."""

    def __init__(self, readout: Readout, pairs: list[Pair]) -> None:
        self.source, self.config = readout.source, readout.config
        self.readings, self._pairs = readout.readings, pairs

    def refresh_pairs(self) -> list[Pair]:
        return self._pairs


_Reader = Callable[[Readout], Iterable[Observation]]


def _one(
    value: float | None, attributes: dict[str, Any] | None = None
) -> Iterator[Observation]:
    if value is not None:
        yield Observation(value, attributes)


def _rss(readout: Readout) -> Iterator[Observation]:
    resident = readout.readings.resident()
    return _one(resident and resident.rss_bytes)


def _anonymous(readout: Readout) -> Iterator[Observation]:
    resident = readout.readings.resident()
    return _one(resident and resident.anonymous_bytes)


def _limit(readout: Readout) -> Iterator[Observation]:
    return _one(readout.config.limit_bytes or readout.readings.limit_bytes())


def _source(readout: Readout) -> Iterator[Observation]:
    source = readout.source
    return _one(
        1,
        {
            semconv.ATTR_HEAP_SOURCE: source.name,
            semconv.ATTR_HEAP_REASON: source.reason or "",
            semconv.ATTR_HEAP_NATIVE_COVERED: source.native_covered,
        },
    )


def _attributes(pair: Pair) -> dict[str, str]:
    return {
        semconv.ATTR_SPAN_NAME: pair.name,
        semconv.ATTR_SPAN_KIND: pair.kind,
        semconv.ATTR_ENTRY: pair.entry,
        semconv.ATTR_SORT: pair.sort,
    }


# Not every row has every figure: what is not measured is left out, not shown as 0.
_UNMEASURED = {
    # Charged to the spans that were current; only their birth is set apart.
    "allocated_bytes": frozenset({semconv.SORT_IMPORT}),
    # Of a single span.
    "peak_bytes": frozenset(semconv.SORTS) - {semconv.SORT_SPAN, semconv.SORT_OTHER},
}


def _by_pair(field: str, *, refreshes: bool = False, sampled: bool = False) -> _Reader:
    unmeasured = _UNMEASURED.get(field, frozenset())

    def read(readout: Readout) -> Iterator[Observation]:
        pairs = readout.refresh_pairs() if refreshes else readout.pairs()
        if sampled and readout.source.health() is None:
            return  # no sampler: unknown, which is not 0
        for pair in pairs:
            if pair.sort not in unmeasured:
                yield Observation(getattr(pair, field), _attributes(pair))

    return read


def _by_health(field: str) -> _Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        health = readout.source.health()
        return _one(None if health is None else getattr(health, field))

    return read


# In the order of registration, which is the order of a collection: the first row
# instrument refreshes, the others show the same reading.
_READERS: tuple[tuple[Metric, _Reader], ...] = (
    (semconv.PROCESS_RSS, _rss),
    (semconv.PROCESS_ANONYMOUS, _anonymous),
    (semconv.PROCESS_PEAK, lambda readout: _one(readout.readings.peak_bytes())),
    (semconv.PROCESS_UPTIME, lambda readout: _one(readout.readings.uptime_seconds())),
    (semconv.LIMIT, _limit),
    (semconv.HEAP_USAGE, lambda readout: _one(readout.source.usage_bytes())),
    (semconv.HEAP_SOURCE, _source),
    (semconv.SPAN_COUNT, _by_pair("count", refreshes=True)),
    (semconv.SPAN_ALLOCATED, _by_pair("allocated_bytes")),
    (semconv.SPAN_LIVE, _by_pair("live_bytes", sampled=True)),
    (semconv.SPAN_PEAK, _by_pair("peak_bytes")),
    (semconv.SAMPLER_SAMPLES, _by_health("samples")),
    (semconv.SAMPLER_DROPPED, _by_health("dropped")),
    (semconv.SAMPLER_TABLE_USAGE, _by_health("live_samples")),
)

_readout: Readout | None = None


def current() -> Readout | None:
    """Give what the callbacks read from now; None when they observe nothing."""
    return _readout


def observe_all(
    readout: Readout, pairs: list[Pair]
) -> Iterator[tuple[Metric, list[Observation]]]:
    """Read what all instruments would show now, with these rows.

    Takes no lock and leaves no trace in what the instruments count, so it may be
    called at any moment.
    """
    moment = _Moment(readout, pairs)
    for metric, read in _READERS:
        yield metric, _observed(metric, read, moment)


def _observed(metric: Metric, read: _Reader, readout: Readout) -> list[Observation]:
    place = f"metrics: {metric.name}"
    return _guard.call(place, lambda: list(read(readout)), default=[])


def _callback(
    metric: Metric, read: _Reader
) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(options: CallbackOptions) -> list[Observation]:
        readout = _readout
        if readout is None:
            return []
        return _observed(metric, read, readout)

    return observe


_CALLBACKS = tuple((metric, _callback(metric, read)) for metric, read in _READERS)


def start(readout: Readout, meter_provider: MeterProvider | None, version: str) -> None:
    """Register the instruments, and let their callbacks read from `readout`."""
    global _readout
    _readout = readout
    meter = get_meter(semconv.SCOPE_NAME, version, meter_provider)
    for metric, callback in _CALLBACKS:
        create = getattr(meter, f"create_{metric.kind.value}")
        create(
            metric.name,
            callbacks=[callback],
            unit=metric.unit,
            description=metric.description,
        )


def stop() -> None:
    """Let the callbacks observe nothing."""
    global _readout
    _readout = None
