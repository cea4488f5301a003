# SPDX-License-Identifier: Apache-2.0
"""Register what `semconv` lists, as observable instruments and one histogram.

Callbacks read plain integers on the reader's thread; nothing on a span's path touches
an instrument. They cannot be unregistered, and registering an instrument again drops
the new callback, so each belongs to its provider, for good, and asks for what is
current: after `stop`, or a `start` with another provider, it observes nothing.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    Observation,
    get_meter,
    get_meter_provider,
)

from otel_memory import _guard, semconv
from otel_memory.heap import Entry, Pair
from otel_memory.metrics import _conventions, _entries
from otel_memory.metrics._readers import READERS, Reader
from otel_memory.metrics._readout import Moment
from otel_memory.metrics._readout import Readout as Readout
from otel_memory.semconv import Metric

_Observe = Callable[[CallbackOptions], list[Observation]]
# Gives where we emit. Not kept alive, and not known yet where a proxy turns real later.
_Target = Callable[[], MeterProvider | None]

_current: Readout | None = None
_target: _Target = get_meter_provider
_histogram: Histogram | None = None


def current() -> Readout | None:
    """Give what the callbacks read from now; None when they observe nothing."""
    return _current


def observe_all(
    readout: Readout, pairs: list[Pair]
) -> Iterator[tuple[Metric, list[Observation]]]:
    """Read what all instruments would show now, with these rows.

    Without the histogram, which cannot be read; and with what others emit as well,
    for they are not asked here. Takes no lock and leaves no trace in what the
    instruments count, so it may be called at any moment.
    """
    moment = Moment(readout, pairs)
    for metric, read in (*READERS, *_conventions.READERS):
        yield metric, _observed(metric, read, moment)


def _observed(metric: Metric, read: Reader, readout: Readout) -> list[Observation]:
    place = f"metrics: {metric.name}"
    return _guard.call(place, lambda: list(read(readout)), default=[])


def _callback(metric: Metric, read: Reader, target: _Target) -> _Observe:
    def observe(options: CallbackOptions) -> list[Observation]:
        readout = _current
        if readout is None or target() is not _target():
            return []
        return _observed(metric, read, readout)

    return observe


def _unless_emitted(metric: Metric, read: Reader, target: _Target) -> Reader:
    def read_unless_emitted(readout: Readout) -> list[Observation]:
        if _conventions.is_emitted_by_others(metric, target()):
            return []
        return list(read(readout))

    return read_unless_emitted


def _target_of(meter_provider: MeterProvider | None) -> _Target:
    if meter_provider is None:
        return get_meter_provider
    try:
        return weakref.ref(meter_provider)
    except TypeError:  # Of a class with slots.
        return lambda: meter_provider


def start(readout: Readout, meter_provider: MeterProvider | None, version: str) -> None:
    """Register the instruments, and let their callbacks read from `readout`.

    Args:
        readout: What they read from.
        meter_provider: Where they are registered; None means the global provider.
        version: Ours.
    """
    global _current, _target, _histogram
    target = _target_of(meter_provider)
    meter = get_meter(semconv.SCOPE_NAME, version, meter_provider)
    conventions = (
        (metric, _unless_emitted(metric, read, target))
        for metric, read in _conventions.READERS
    )
    for metric, read in (*READERS, *conventions):
        create = getattr(meter, f"create_{metric.kind.value}")
        create(
            metric.name,
            callbacks=[_callback(metric, read, target)],
            unit=metric.unit,
            description=metric.description,
        )
    _histogram = _entries.create(meter)
    _current, _target = readout, target


def stop() -> None:
    """Let the callbacks observe nothing, and record nothing any more."""
    global _current, _histogram
    _current = _histogram = None


@_guard.guard("metrics: entries")
def record_entries(entries: list[Entry]) -> None:
    """Record the peaks of entry spans that have ended; nothing after `stop`.

    For the watcher's thread, which holds a lock meanwhile that forks wait for: the
    SDK's locks, which are taken here, stay locked in a child otherwise.
    """
    readout, histogram = _current, _histogram
    if readout is None or histogram is None or not entries:
        return
    admitted = readout.admitted(entry.name for entry in entries)
    _entries.record(histogram, entries, admitted)


@_guard.guard("metrics: after a fork")
def _after_fork_in_child() -> None:
    if _current is not None:
        _conventions.mend_system_metrics()
    if _histogram is not None:
        _entries.forget(_histogram)


os.register_at_fork(after_in_child=_after_fork_in_child)
