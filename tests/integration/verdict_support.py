# SPDX-License-Identifier: Apache-2.0
"""Recordings of hours, as runs would have left them, made in a moment."""

from __future__ import annotations

import random
from dataclasses import dataclass

from otel_memory import semconv
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.otlp import write_attributes

MIB = 1024**2
HOUR = 3600.0
START_SECONDS = 1_700_000_000.0
LEAKY = ("get_product_list", "INTERNAL", "GET /recommend", "span")
LARGE = ("load_catalogue", "INTERNAL", "GET /", "span")
NO_SPAN = ("(no span)", "", "(no span)", "no-span")
OTHER = ("(other)", "", "(other)", "other")
SPANS_PER_SECOND = 5


@dataclass
class Process:
    """What a process does.

    Attributes:
        growth: The share of 400 MiB that it gains in an hour, in LEAKY.
        admitted: How old it is when LEAKY gets a row of its own.
    """

    pid: int = 17
    growth: float = 0.0
    is_counted: bool = True
    has_uptime: bool = True
    begin: float = 0.0
    until: float = 4 * HOUR
    limit_bytes: int | None = None
    admitted: float = 0.0

    def report(self, now):
        """Give the report at a time since the start of the run."""
        age = now - self.begin
        wanders = random.Random(f"{self.pid} {now}").uniform(-1, 1) * MIB
        gained = 400 * MIB * self.growth * age / HOUR
        anonymous = round(400 * MIB + gained + wanders)
        metrics = [
            (semconv.PROCESS_RSS, anonymous + 30 * MIB),
            (semconv.PROCESS_ANONYMOUS, anonymous),
        ]
        if self.has_uptime:
            metrics.append((semconv.PROCESS_UPTIME, age))
        if self.limit_bytes:
            metrics.append((semconv.LIMIT, self.limit_bytes))
        plain = [metric(each, now, [(value, {})]) for each, value in metrics]
        return line(self.pid, plain + self._rows(now, age, gained))

    def _rows(self, now, age, gained):
        if not self.is_counted:
            return []
        count = round(age * SPANS_PER_SECOND)
        # What was completed as (other) stays there, what is alive does not.
        as_other = min(count, round(self.admitted * SPANS_PER_SECOND))
        counts = {LARGE: count // 9, NO_SPAN: 0, OTHER: count // 7 + as_other}
        live = {LARGE: 250 * MIB, NO_SPAN: MIB, OTHER: 0}
        if age < self.admitted:
            live[OTHER] += 2 * MIB + gained
        else:
            counts[LEAKY] = count - as_other
            live[LEAKY] = 2 * MIB + gained
        return [
            metric(what, now, [(round(v), pair(k)) for k, v in figures.items()])
            for what, figures in (
                (semconv.SPAN_COUNT, counts),
                (semconv.SPAN_LIVE, live),
            )
        ]


def nanoseconds(seconds):
    return str(int((START_SECONDS + seconds) * 1e9))


def pair(key):
    return dict(zip(semconv.SPAN_ROW_ATTRIBUTES, key, strict=True))


def metric(what, now, points):
    data = [
        {
            **({"asDouble": v} if isinstance(v, float) else {"asInt": str(v)}),
            "timeUnixNano": nanoseconds(now),
            "attributes": write_attributes(attributes),
        }
        for v, attributes in points
    ]
    return {"name": what.name, "gauge": {"dataPoints": data}}


def resource(pid):
    attributes = {"process.pid": pid, "service.name": "shop"}
    return {"attributes": write_attributes(attributes)}


def line(pid, metrics):
    scope = {"metrics": metrics}
    part = {"resource": resource(pid), "scopeMetrics": [scope]}
    return {"resourceMetrics": [part]}


def event(pid, now, name, body, attributes=None):
    record = {
        "eventName": name,
        # As the SDK writes it where the time was left to it.
        "observedTimeUnixNano": nanoseconds(now),
        "body": {"stringValue": body},
        "attributes": write_attributes(attributes or {}),
    }
    scope = {"logRecords": [record]}
    return {"resourceLogs": [{"resource": resource(pid), "scopeLogs": [scope]}]}


def alert(now, message, *, pid=17, name=semconv.EVENT_LEAK_SUSPECTED, **attributes):
    known = {
        semconv.ATTR_ALERT_KIND: semconv.ALERT_LEAK,
        semconv.ATTR_ALERT_SUSPECTS: ["get_product_list (GET /recommend) +24.0 MiB/h"],
        semconv.ATTR_ALERT_TOP_SITES: ["shop/cache.py:60 get_product_list 86.5 MiB"],
    }
    return event(pid, now, name, message, {**known, **attributes})


def lines_of(*processes, step_seconds=30.0):
    """Give the reports of several processes, in the order of their coming."""
    reports = [
        (process.begin + number * step_seconds, index, process)
        for index, process in enumerate(processes)
        for number in range(1, int((process.until - process.begin) / step_seconds) + 1)
    ]
    for now, _, process in sorted(reports, key=lambda each: each[:2]):
        yield process.report(now)


def write(path, *processes, events=()):
    """Write what a run with these processes would have left."""
    writer = RecordingWriter(path, Start(("python", "app.py"), "/srv", START_SECONDS))
    for each in (*lines_of(*processes), *events):
        writer.write(each)
    writer.close(0)
    return path
