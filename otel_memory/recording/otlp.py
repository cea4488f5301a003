# SPDX-License-Identifier: Apache-2.0
"""Read and build the few parts of OTLP JSON that recordings need.

Works on plain dicts, as the Collector's file exporter writes them: 64-bit integers
are strings, enums are numbers, ids are hexadecimal. Readers never raise for a part
that is missing or of another shape: a recording may have been cut or edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from otel_memory.recording.numbers import finite_number, size, whole_number

Json = dict[str, Any]

PID_ATTRIBUTE = "process.pid"
RESOURCE_KEYS = {
    "traces": "resourceSpans",
    "metrics": "resourceMetrics",
    "logs": "resourceLogs",
}
"""The key that holds a line's resources, by signal."""

_POINT_KEYS = ("sum", "gauge")


class Point(NamedTuple):
    """One number of one metric of one process."""

    pid: int | None
    metric: str
    attributes: dict[str, Any]
    value: float
    time_seconds: float | None


class Event(NamedTuple):
    """One log event of one process."""

    pid: int | None
    name: str
    attributes: dict[str, Any]
    body: Any
    time_seconds: float | None


def dicts(holder: Any, key: str) -> Iterator[Json]:
    """Give those elements of a list that are objects; nothing if there is none."""
    found = holder.get(key) if isinstance(holder, dict) else None
    for element in found if isinstance(found, list) else ():
        if isinstance(element, dict):
            yield element


def _list_value(value: Any) -> list[Any]:
    return [read_value(element) for element in dicts(value, "values")]


_VALUE_READERS = {
    "stringValue": lambda value: value if isinstance(value, str) else None,
    "boolValue": lambda value: value if isinstance(value, bool) else None,
    "intValue": whole_number,
    "doubleValue": finite_number,
    "arrayValue": _list_value,
}


def read_value(value: Any) -> Any:
    """Read an `AnyValue`; None where it is empty or of a kind we never write."""
    if isinstance(value, dict):
        for key, reader in _VALUE_READERS.items():
            if key in value:
                return reader(value[key])
    return None


def write_value(value: Any) -> Json:
    """Write an `AnyValue`; the inverse of `read_value`."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [write_value(element) for element in value]}}
    return {"stringValue": str(value)}


def read_attributes(holder: Any) -> dict[str, Any]:
    """Read a list of attributes as a dict."""
    read = {}
    for attribute in dicts(holder, "attributes"):
        value = attribute.get("value")
        # Most are texts, and there are hundreds of thousands in a recording.
        text = value.get("stringValue") if isinstance(value, dict) else None
        known = text if isinstance(text, str) else read_value(value)
        read[str(attribute.get("key"))] = known
    return read


def write_attributes(attributes: Mapping[str, Any]) -> list[Json]:
    """Write a dict as a list of attributes."""
    return [
        {"key": key, "value": write_value(value)} for key, value in attributes.items()
    ]


def signal_of(line: Mapping[str, Any]) -> str | None:
    """Tell which signal a line carries, or None if it is no OTLP."""
    for signal, key in RESOURCE_KEYS.items():
        if isinstance(line.get(key), list):
            return signal
    return None


def resources(line: Mapping[str, Any]) -> Iterator[Json]:
    """Give the resources of a line, of whichever signal."""
    for key in RESOURCE_KEYS.values():
        yield from dicts(line, key)


def pid_of(resource_part: Mapping[str, Any]) -> int | None:
    """Read the process id of a resource."""
    attributes = read_attributes(resource_part.get("resource"))
    return whole_number(attributes.get(PID_ATTRIBUTE))


def stamp_pid(line: Json, pid: int) -> None:
    """Write the process id into every resource of a line, over what is there.

    A resource is made once and may still tell of the parent after a fork.
    """
    for part in resources(line):
        resource = part.setdefault("resource", {})
        others = [
            attribute
            for attribute in dicts(resource, "attributes")
            if attribute.get("key") != PID_ATTRIBUTE
        ]
        resource["attributes"] = [*others, *write_attributes({PID_ATTRIBUTE: pid})]


def _seconds(record: Mapping[str, Any], key: str = "timeUnixNano") -> float | None:
    nanoseconds = size(record.get(key))
    return nanoseconds / 1e9 if nanoseconds else None


def _number(point: Mapping[str, Any]) -> float | None:
    if "asInt" in point:
        return whole_number(point["asInt"])
    return finite_number(point.get("asDouble"))


def points(line: Mapping[str, Any]) -> Iterator[Point]:
    """Give the numbers of a metrics line; histograms are left out."""
    for part in dicts(line, RESOURCE_KEYS["metrics"]):
        pid = pid_of(part)
        for scope in dicts(part, "scopeMetrics"):
            for metric in dicts(scope, "metrics"):
                name = str(metric.get("name"))
                for key in _POINT_KEYS:
                    for point in dicts(metric.get(key), "dataPoints"):
                        value = _number(point)
                        if value is not None:
                            attributes = read_attributes(point)
                            time_seconds = _seconds(point)
                            yield Point(pid, name, attributes, value, time_seconds)


def events(line: Mapping[str, Any]) -> Iterator[Event]:
    """Give those records of a logs line that are events."""
    for part in dicts(line, RESOURCE_KEYS["logs"]):
        pid = pid_of(part)
        for scope in dicts(part, "scopeLogs"):
            for record in dicts(scope, "logRecords"):
                name = record.get("eventName")
                if isinstance(name, str) and name:
                    body = read_value(record.get("body"))
                    attributes = read_attributes(record)
                    # Whoever emits an event may leave its time to the SDK.
                    time = _seconds(record) or _seconds(record, "observedTimeUnixNano")
                    yield Event(pid, name, attributes, body, time)
