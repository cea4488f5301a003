# SPDX-License-Identifier: Apache-2.0
"""Processes over time, a sample a minute, always the same ones.

A curve gives MiB for each minute; a process has curves for its memory and its traffic,
and gives the series that Prometheus would have of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deploy import names
from otel_memory import semconv

MIB = 1 << 20
HOUR = 60
JOB, INSTANCE = "shop/web", "web-1"
COLLECTOR_JOB = "otelcol"
LIMIT_MIB = 1024
REQUESTS_PER_MINUTE = 600

Curve = Callable[[int], float]
Samples = list[float | str | None]
# What Prometheus writes where a scrape fails.
STALE = "stale"


def flat(level: float) -> Curve:
    return lambda minute: level


def noise(deviation: float, seed: int = 1) -> Curve:
    drawn = random.Random(seed)
    values = [drawn.gauss(0, deviation) for _ in range(100 * HOUR)]
    return lambda minute: values[minute]


def line(per_hour: float, begin: int = 0, end: int = 100 * HOUR) -> Curve:
    return lambda minute: per_hour * (min(max(minute, begin), end) - begin) / HOUR


def warm_up(height: float, minutes: float) -> Curve:
    return lambda minute: height * (1 - math.exp(-minute / minutes))


def teeth(height: float, period: int) -> Curve:
    return lambda minute: height * (minute % period) / period


def bursts(height: float, every: int, length: int) -> Curve:
    return lambda minute: height if minute % every >= every - length else 0.0


def step(height: float, at: int) -> Curve:
    return lambda minute: height if minute >= at else 0.0


def swing(height: float, period_hours: float = 24) -> Curve:
    """Lowest at the start."""
    turn = 2 * math.pi / (period_hours * HOUR)
    return lambda minute: height / 2 * (1 - math.cos(turn * minute))


def summed(*curves: Curve) -> Curve:
    return lambda minute: sum(curve(minute) for curve in curves)


def later(curve: Curve, minutes: int) -> Curve:
    return lambda minute: curve(minute + minutes)


def restarted(curve: Curve, *, every: int) -> Curve:
    return lambda minute: curve(minute % every)


@dataclass
class Process:
    """One process, as its series tell of it.

    Attributes:
        memory: Anonymous memory.
        others: What counts against the limit besides.
        file_pages: What only RSS has.
        limit: In MiB; None without one.
        traffic: Completed spans in each minute.
        spans: Live MiB by span name; each has all of the traffic.
        age: Minutes since the start of the process, in each minute.
        begin: The first minute that it is seen in.
        end: The last one.
        every: Minutes between two samples.
        missing: Minutes without samples.
        unanswered: Minutes at which it was asked, and did not answer in time.
        labels: That all of its series have besides.
        more: Samples of other series, by metric and by the attributes' values.
    """

    memory: Curve = field(default_factory=lambda: flat(300))
    others: Curve = field(default_factory=lambda: flat(20))
    file_pages: Curve = field(default_factory=lambda: flat(50))
    limit: float | None = LIMIT_MIB
    traffic: Curve | None = field(default_factory=lambda: flat(REQUESTS_PER_MINUTE))
    spans: Mapping[str, Curve] = field(default_factory=dict)
    age: Curve = float
    begin: int = 0
    end: int = 100 * HOUR
    every: int = 1
    missing: range = range(0)
    unanswered: range = range(0)
    job: str = JOB
    instance: str = INSTANCE
    labels: Mapping[str, str] = field(default_factory=dict)
    more: Sequence[tuple[semconv.Metric, Mapping[str, str], Curve]] = ()

    def series(self, minutes: int) -> list[dict[str, str]]:
        """Give promtool's input series."""
        sizes: dict[semconv.Metric, Curve] = {
            semconv.PROCESS_ANONYMOUS: self.memory,
            semconv.PROCESS_RSS: summed(self.memory, self.file_pages),
            semconv.LIMIT_USAGE: summed(self.memory, self.others),
        }
        if self.limit is not None:
            sizes[semconv.LIMIT] = flat(self.limit)
        all_of_them = [(metric, {}, _bytes(size)) for metric, size in sizes.items()]
        all_of_them.append((semconv.PROCESS_UPTIME, {}, lambda m: self.age(m) * 60))
        for span, live in self.spans.items():
            row = span_row(span)
            all_of_them.append((semconv.SPAN_LIVE, row, _bytes(live)))
            all_of_them.append((semconv.SPAN_COUNT, row, self._counted(minutes)))
        if not self.spans and self.traffic is not None:
            row = span_row("GET /")
            all_of_them.append((semconv.SPAN_COUNT, row, self._counted(minutes)))
        return [
            self._series(metric, attributes, curve, minutes)
            for metric, attributes, curve in [*all_of_them, *self.more]
        ]

    def _counted(self, minutes: int) -> Curve:
        assert self.traffic is not None
        totals = [0.0]
        for minute in range(1, minutes + 1):
            starts_anew = self.age(minute) < self.age(minute - 1)
            totals.append(0 if starts_anew else totals[-1] + self.traffic(minute))
        return lambda minute: totals[minute]

    def _series(
        self,
        metric: semconv.Metric,
        attributes: Mapping[str, str],
        curve: Curve,
        minutes: int,
    ) -> dict[str, str]:
        assert sorted(attributes) == sorted(metric.attributes), metric.name
        labels = {names.JOB: self.job, names.INSTANCE: self.instance, **self.labels}
        labels |= {names.label(key): value for key, value in attributes.items()}
        samples: Samples = [
            self._sample(curve, minute) for minute in range(minutes + 1)
        ]
        return _written(names.series(metric), labels, samples)

    def _sample(self, curve: Curve, minute: int) -> float | str | None:
        if minute in self.unanswered:
            return STALE
        is_seen = self.begin <= minute <= self.end and minute not in self.missing
        return curve(minute) if is_seen and minute % self.every == 0 else None


@dataclass
class Collector:
    """A Collector, as Prometheus sees it that scrapes it.

    Attributes:
        down: Minutes without an answer.
        counted: Points that were lost until each minute, by counter; none is no series.
    """

    down: range = range(0)
    counted: Mapping[str, Curve] = field(default_factory=dict)
    job: str = COLLECTOR_JOB
    instance: str = INSTANCE

    def series(self, minutes: int) -> list[dict[str, str]]:
        """Give promtool's input series."""
        each_minute = range(minutes + 1)
        labels = {names.JOB: self.job, names.INSTANCE: self.instance}
        answers: Samples = [float(minute not in self.down) for minute in each_minute]
        found = [_written("up", labels, answers)]
        for counter, curve in self.counted.items():
            samples: Samples = [
                STALE if minute in self.down else curve(minute) or None
                for minute in each_minute
            ]
            own = {**labels, "exporter": "otlp_http/prometheus"}
            found.append(_written(counter, own, samples))
        return found


def _written(name: str, labels: Mapping[str, str], samples: Samples) -> dict[str, str]:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items() if value)
    return {"series": f"{name}{{{inside}}}", "values": " ".join(map(_value, samples))}


def _value(sample: float | str | None) -> str:
    if sample is None:
        return "_"
    return sample if isinstance(sample, str) else f"{sample:.10g}"


def span_row(span: str, entry: str = "GET /") -> dict[str, str]:
    """Give the attributes of a row of spans."""
    values = (span, "INTERNAL", entry, semconv.SORT_SPAN)
    return dict(zip(semconv.SPAN_ROW_ATTRIBUTES, values, strict=True))


def _bytes(curve: Curve) -> Curve:
    return lambda minute: round(curve(minute) * MIB)
