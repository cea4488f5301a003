# SPDX-License-Identifier: Apache-2.0
"""The metrics of OpenTelemetry's semantic conventions, and who else emits them.

No name may arrive twice in one collection. Who comes later, we or another
instrumentation, is not known when we register; so it is asked at each collection.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.metrics import MeterProvider, Observation, get_meter_provider

from otel_memory import semconv
from otel_memory.metrics._readers import Reader, one, rss, uptime
from otel_memory.metrics._readout import Readout
from otel_memory.semconv import Metric

_SYSTEM_METRICS = "opentelemetry.instrumentation.system_metrics"


def _faults(readout: Readout) -> Iterator[Observation]:
    faults = readout.readings.faults()
    for fault_type in (semconv.FAULT_MINOR, semconv.FAULT_MAJOR):
        attributes = {semconv.ATTR_PAGING_FAULT_TYPE: fault_type}
        yield from one(getattr(faults, fault_type, None), attributes)


def _gc_stats(field: str) -> Reader:
    def read(readout: Readout) -> Iterator[Observation]:
        for generation, stats in enumerate(gc.get_stats()):
            yield Observation(stats[field], {semconv.ATTR_GC_GENERATION: generation})

    return read


READERS: tuple[tuple[Metric, Reader], ...] = (
    (semconv.CONVENTION_USAGE, rss),
    (
        semconv.CONVENTION_VIRTUAL,
        lambda readout: one(readout.readings.virtual_bytes()),
    ),
    (semconv.CONVENTION_FAULTS, _faults),
    (semconv.CONVENTION_UPTIME, uptime),
    (semconv.CONVENTION_GC_COLLECTIONS, _gc_stats("collections")),
    (semconv.CONVENTION_GC_COLLECTED, _gc_stats("collected")),
    (semconv.CONVENTION_GC_UNCOLLECTABLE, _gc_stats("uncollectable")),
)


class _Asked(NamedTuple):
    """What others emitted when they were asked, and who has been told since."""

    names: set[str]
    told: set[str]


# Of each provider, for another one may have other emitters. Each is replaced as a whole,
# under the GIL: readers that collect at the same time ask more often, and no less.
_asked: WeakKeyDictionary[MeterProvider, _Asked] = WeakKeyDictionary()


def is_emitted_by_others(metric: Metric, meter_provider: MeterProvider | None) -> bool:
    """Tell whether others emit a metric, for one row of a collection.

    All instruments of all meters are looked through once in a collection: a row that
    asks again is of another one.

    Args:
        metric: The row.
        meter_provider: Where we emit; None means the global one.
    """
    provider = get_meter_provider() if meter_provider is None else meter_provider
    asked = None
    with suppress(TypeError):  # of a class with slots, or that cannot be hashed
        asked = _asked.get(provider)
    if asked is None or metric.name in asked.told:
        asked = _Asked(names_of_others(provider), set())
        with suppress(TypeError):
            _asked[provider] = asked
    asked.told.add(metric.name)
    return metric.name in asked.names


def names_of_others(meter_provider: MeterProvider | None) -> set[str]:
    """Give the names of metrics that others emit, in small letters.

    Args:
        meter_provider: Where we emit; None means the global one.
    """
    provider = get_meter_provider() if meter_provider is None else meter_provider
    # The SDK's own list knows every emitter, whatever its configuration, and those
    # that were uninstrumented and go on: an observable instrument stays for good.
    meters = getattr(provider, "_meters", None)
    if not isinstance(meters, dict):
        return _names_of_system_metrics()
    names: set[str] = set()
    for scope, meter in list(meters.items()):
        if scope.name != semconv.SCOPE_NAME:
            instruments = getattr(meter, "_instrument_id_instrument", None)
            if not isinstance(instruments, dict):
                return _names_of_system_metrics()
            names.update(each.name.lower() for each in list(instruments.values()))
    return names


def _system_metrics() -> Any:
    """The instrumentor of system-metrics; None where nobody has loaded it."""
    module = sys.modules.get(_SYSTEM_METRICS)
    return getattr(
        getattr(module, "SystemMetricsInstrumentor", None), "_instance", None
    )


def _names_of_system_metrics() -> set[str]:
    """What system-metrics emits by its own word, where no SDK can be asked."""
    instrumentor = _system_metrics()
    # Constructing it again takes the meter away, and uninstrumenting only the flag.
    is_instrumented = (
        getattr(instrumentor, "is_instrumented_by_opentelemetry", False)
        or getattr(instrumentor, "_meter", None) is not None
    )
    return set(getattr(instrumentor, "_config", ())) if is_instrumented else set()


def mend_system_metrics() -> None:
    """In a forked child: have system-metrics read the child.

    It keeps the process that it was constructed in, and would report the parent's
    figures as the child's for ever.
    """
    instrumentor = _system_metrics()
    process = getattr(instrumentor, "_proc", None)
    if process is not None and process.pid != os.getpid():
        instrumentor._proc = type(process)()
