# SPDX-License-Identifier: Apache-2.0
"""Two processes with all of our series, a sample a minute, in OpenMetrics.

The first one grows, leaks and is near its limit; the second one is well, and was
restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from deploy import names
from otel_memory import semconv
from otel_memory.semconv import Kind, Metric

MIB = 1 << 20
END_SECONDS = 1_767_225_600
MINUTES = 180
HOUR = 60
RESTARTED_MINUTE = 150
FIRES_FROM_MINUTE = 140
JOB = "shop/web"
SICK, WELL = "web-1", "web-2"
INSTANCES = (SICK, WELL)
ALERT = "OTelMemoryNearLimit"
LIMIT_BYTES = 512 * MIB
GROWTH_BYTES_PER_HOUR = {SICK: 35 * MIB, WELL: 1 * MIB}
USED_BYTES = {SICK: 440 * MIB, WELL: 200 * MIB}
REQUESTS_PER_MINUTE = 60
LEAKED_BYTES_PER_HOUR = 30 * MIB
LIVE_AT_START_BYTES = 10 * MIB
LEAKING_SPAN = "get_product_list"
# All entry spans need between 256 KiB and 1 MiB.
PEAK_BETWEEN_BYTES = (256 * 1024, 1024 * 1024)

_ROWS = (
    (semconv.SORT_SPAN, LEAKING_SPAN, "INTERNAL", "GET /recommend"),
    (semconv.SORT_SPAN, "GET /recommend", "SERVER", "GET /recommend"),
    (semconv.SORT_SPAN, "GET /search", "SERVER", "GET /search"),
    *((sort, row, "", row) for sort, row in semconv.ROW_BY_SORT.items()),
    (
        semconv.SORT_AFTER_END,
        semconv.after_end_row("GET /search"),
        "",
        "GET /search",
    ),
)
_WITHOUT_COUNT = set(semconv.SORTS) - {semconv.SORT_SPAN, semconv.SORT_OTHER}

_VALUES_BY_ATTRIBUTE = {
    semconv.ATTR_LIMIT_EVENT: (
        semconv.LIMIT_EVENT_HIGH,
        semconv.LIMIT_EVENT_MAX,
        semconv.LIMIT_EVENT_OOM,
    ),
    semconv.ATTR_PRESSURE_SCOPE: (semconv.PRESSURE_CGROUP,),
    semconv.ATTR_GC_GENERATION: ("0", "1", "2"),
    semconv.ATTR_PAGING_FAULT_TYPE: (semconv.FAULT_MINOR, semconv.FAULT_MAJOR),
    semconv.ATTR_ALERT_KIND: semconv.ALERT_KINDS,
}
_SOURCE = {
    semconv.ATTR_HEAP_SOURCE: semconv.SOURCE_NATIVE,
    semconv.ATTR_HEAP_REASON: "",
    semconv.ATTR_HEAP_NATIVE_COVERED: "true",
}


def _uptime(instance: str, minute: int) -> float:
    is_new = instance == WELL and minute >= RESTARTED_MINUTE
    return 60 * (minute - RESTARTED_MINUTE if is_new else minute + 600)


def _leak_state(instance: str, minute: int) -> float:
    states = ("growing", "leaking") if instance == SICK else ("warming-up", "steady")
    return semconv.LEAK_STATES.index(states[minute > RESTARTED_MINUTE])


# What tests look up; all others rise or stay as their kind does.
_FIGURES: dict[Metric, Callable[[str, int], float]] = {
    semconv.PROCESS_UPTIME: _uptime,
    semconv.LIMIT: lambda instance, minute: LIMIT_BYTES,
    semconv.LIMIT_USAGE: lambda instance, minute: USED_BYTES[instance],
    semconv.GROWTH: lambda instance, minute: GROWTH_BYTES_PER_HOUR[instance],
    semconv.LEAK_STATE: _leak_state,
    semconv.HEAP_SOURCE: lambda instance, minute: 1,
    semconv.SPAN_COUNT: lambda instance, minute: REQUESTS_PER_MINUTE * minute,
    semconv.SPAN_LIVE: lambda instance, minute: (
        LIVE_AT_START_BYTES + LEAKED_BYTES_PER_HOUR / HOUR * minute
    ),
}


def _figure(metric: Metric, instance: str, minute: int) -> float:
    if metric in _FIGURES:
        return _FIGURES[metric](instance, minute)
    return minute / HOUR if metric.kind is Kind.OBSERVABLE_COUNTER else 3 * MIB


def _attribute_sets(metric: Metric) -> Iterator[dict[str, str]]:
    if metric.attributes == semconv.SPAN_ROW_ATTRIBUTES:
        is_of_all = metric in (semconv.SPAN_LIVE, semconv.SPAN_ALLOCATED)
        for sort, name, kind, entry in _ROWS:
            if is_of_all or sort not in _WITHOUT_COUNT:
                row = (name, kind, entry, sort)
                yield dict(zip(metric.attributes, row, strict=True))
    elif metric is semconv.ENTRY_PEAK:
        for sort, name, kind, entry in _ROWS:
            if sort == semconv.SORT_SPAN and name == entry:
                yield {semconv.ATTR_SPAN_NAME: name, semconv.ATTR_SPAN_KIND: kind}
    elif metric is semconv.HEAP_SOURCE:
        yield _SOURCE
    elif metric.attributes:
        (attribute,) = metric.attributes
        for value in _VALUES_BY_ATTRIBUTE[attribute]:
            yield {attribute: value}
    else:
        yield {}


def _line(name: str, labels: dict[str, str], value: float, minute: int) -> str:
    # Prometheus drops labels without a value.
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items() if text)
    seconds = END_SECONDS - 60 * (MINUTES - minute)
    return f"{name}{{{inside}}} {float(value)!r} {seconds}"


def _histogram(metric: Metric, labels: dict[str, str], minute: int) -> Iterator[str]:
    count = REQUESTS_PER_MINUTE * minute
    for edge in (*map(float, metric.boundaries), float("inf")):
        le = "+Inf" if edge == float("inf") else str(edge)
        below = count if edge >= PEAK_BETWEEN_BYTES[1] else 0
        bucket = labels | {names.BUCKET: le}
        yield _line(names.series(metric, "_bucket"), bucket, below, minute)
    mean = sum(PEAK_BETWEEN_BYTES) / 2
    yield _line(names.series(metric, "_sum"), labels, count * mean, minute)
    yield _line(names.series(metric, "_count"), labels, count, minute)


def _samples(metric: Metric, labels: dict[str, str]) -> Iterator[str]:
    for minute in range(MINUTES + 1):
        if metric.kind is Kind.HISTOGRAM:
            yield from _histogram(metric, labels, minute)
        else:
            value = _figure(metric, labels[names.INSTANCE], minute)
            yield _line(names.series(metric), labels, value, minute)


def open_metrics() -> str:
    """Write the text that `promtool tsdb create-blocks-from openmetrics` takes."""
    lines: list[str] = []
    for metric in (*semconv.METRICS, *semconv.CONVENTION_METRICS):
        for instance in INSTANCES:
            process = {names.JOB: JOB, names.INSTANCE: instance}
            for attributes in _attribute_sets(metric):
                own = {names.label(key): text for key, text in attributes.items()}
                lines += _samples(metric, process | own)
    fired = {
        "alertname": ALERT,
        "alertstate": "firing",
        "severity": "warning",
        names.JOB: JOB,
        names.INSTANCE: SICK,
    }
    lines += (
        _line("ALERTS", fired, 1, minute)
        for minute in range(FIRES_FROM_MINUTE, MINUTES + 1)
    )
    return "\n".join([*lines, "# EOF\n"])
