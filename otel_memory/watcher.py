# SPDX-License-Identifier: Apache-2.0
"""The background thread: readings, verdicts, alerts and heap profiles, in their time.

Each task fails on its own: the others go on. Whatever calls OpenTelemetry or a log
handler is done in this thread, and `in_telemetry`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from opentelemetry._logs import Logger, SeverityNumber

from otel_memory import _guard, profile, semconv
from otel_memory._background import Background
from otel_memory._schedule import Schedule, Task
from otel_memory.alerts import (
    Alarms,
    Alerts,
    Change,
    Evidence,
    Memory,
    make_alert,
    take_evidence,
)
from otel_memory.config import OTEL_PYTHON_MEMORY_HEAP, MemoryConfig
from otel_memory.findings import Findings
from otel_memory.heap import Entry, HeapSource
from otel_memory.leaks import (
    HORIZON_SECONDS,
    SORTS_WITHOUT_SUSPECT,
    History,
    room_bytes,
)
from otel_memory.process import Readings, Resident

VERDICT_SECONDS = 300.0

_STACKS_MAX = 200

_logger = logging.getLogger("otel_memory")


def _judged_bytes(resident: Resident) -> int:
    """Give what growth is judged on: anonymous memory, where it is known."""
    anonymous_bytes = resident.anonymous_bytes
    return resident.rss_bytes if anonymous_bytes is None else anonymous_bytes


class Watcher(Background):
    """Ticks until it is stopped.

    Args:
        source: The heap source to look after.
        config: The settings.
        readings: Of the process.
        findings: Where verdicts and the like are left for others.
        alerts: Who is told of trouble.
        events: Where profiles go.
        completed: Counts the spans that have ended in this process; None where they
            are not counted.
        record_entries: Takes the entry spans that have ended.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        source: HeapSource,
        config: MemoryConfig,
        *,
        readings: Readings,
        findings: Findings,
        alerts: Alerts,
        events: Logger,
        completed: Callable[[], int | None],
        record_entries: Callable[[list[Entry]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._config = config
        self._readings = readings
        self._findings = findings
        self._alerts = alerts
        self._events = events
        self._completed = completed
        self._record_entries = record_entries
        self._clock = clock
        self._said_lost = False
        super().__init__("otel-memory-watcher")
        self._begin()

    def _begin(self) -> None:
        """Know nothing yet, at the start of a process."""
        now = self._clock()
        self._started_at = now - (self._readings.uptime_seconds() or 0.0)
        self._history = History()
        self._alarms = Alarms(
            self._config.thresholds(), self._config.growth_warning_bytes_per_hour
        )
        interval = self._config.interval_seconds
        profile_interval = self._config.profile_interval_seconds
        tasks = [
            Task("watcher: check", interval, self.check),
            Task("watcher: entries", interval, self._fetch_entries, first_seconds=0.0),
            Task("watcher: memory", interval, self._read_memory),
            Task("watcher: rows", interval, self._read_rows),
            Task("watcher: verdict", VERDICT_SECONDS, self._judge),
        ]
        if self._config.smaps:
            tasks.append(Task("watcher: details", interval, self._read_details))
        if profile_interval > 0:
            tasks.append(Task("watcher: profile", profile_interval, self.send_profile))
        self._schedule = Schedule(tasks, now)

    # --- The thread's --------------------------------------------------------

    def wait_seconds(self) -> float:
        """Tell how long there is nothing to do."""
        return max(0.0, self._schedule.next_due() - self._clock())

    def begin_in_child(self) -> None:
        """Know nothing yet, in a forked child."""
        self._findings.reset()
        self._alerts.reset()
        self._begin()

    def tick(self) -> None:
        """Do what is due by the clock."""
        # Not the thread's time as it is: gevent runs the application in it, too.
        before_seconds = time.thread_time()
        self._schedule.run_due(self._clock())
        self._findings.count_watcher(time.thread_time() - before_seconds)

    # --- The tasks -----------------------------------------------------------

    def check(self) -> None:
        """Look after the source; say once that it is lost."""
        self._source.check()
        if self._source.name == semconv.SOURCE_LOST and not self._said_lost:
            self._said_lost = True
            with self.in_telemetry:
                _logger.warning(
                    "heap figures stop here (%s): %s",
                    OTEL_PYTHON_MEMORY_HEAP,
                    self._source.reason,
                )

    def _uptime_seconds(self) -> float:
        return self._clock() - self._started_at

    def _limit_bytes(self) -> int | None:
        return self._config.limit_bytes or self._readings.limit_bytes()

    def _room_bytes(self) -> int | None:
        """Tell what this process may take: others of its container hold the rest."""
        if self._config.limit_bytes:
            return self._config.limit_bytes
        resident = self._readings.resident()
        return room_bytes(
            self._readings.limit_bytes(),
            self._readings.limit_usage_bytes(),
            None if resident is None else _judged_bytes(resident),
        )

    def _fetch_entries(self) -> None:
        # As many as there is room for, and no more: recording one takes the SDK longer
        # than a span takes us, so that a flood of them shall not cost a core.
        entries = self._source.take_entries()
        if entries:
            with self.in_telemetry:
                self._record_entries(entries)

    def _read_memory(self) -> None:
        resident = self._readings.resident()
        if resident is None:
            return
        self._history.add(
            self._uptime_seconds(), _judged_bytes(resident), self._completed()
        )
        usage_bytes: int | None = resident.rss_bytes
        if not self._config.limit_bytes:
            container = self._readings.limit_usage_bytes()
            usage_bytes = usage_bytes if container is None else container
        memory = Memory(resident.rss_bytes, usage_bytes, self._limit_bytes())
        self._send(self._alarms.see_memory(memory))

    def _read_rows(self) -> None:
        now = self._uptime_seconds()
        if self._history.wants_pairs(now):
            rows = (
                (pair.name, pair.entry, pair.live_bytes, pair.count)
                for pair in self._source.pairs()
                if pair.sort not in SORTS_WITHOUT_SUSPECT
            )
            self._history.add_pairs(now, rows)

    def _judge(self) -> None:
        if self._uptime_seconds() >= HORIZON_SECONDS:
            assessment = self._history.assess(self._room_bytes())
            self._findings.assessment = assessment
            self._send(self._alarms.see_verdict(assessment))

    def _read_details(self) -> None:
        self._findings.details = self._readings.details()

    def _send(self, changes: list[Change]) -> None:
        if not changes:
            return
        evidence = Evidence()
        if not all(change.recovered for change in changes):
            evidence = _guard.call(
                "watcher: evidence",
                take_evidence,
                self._source,
                self._history,
                default=evidence,
            )
        verdict, limit_bytes = self._findings.assessment, self._limit_bytes()
        for change in changes:
            alert = make_alert(change, verdict, limit_bytes, evidence)
            with self.in_telemetry:
                self._alerts.send(alert)

    def send_profile(self, *, final: bool = False) -> None:
        """Send the live heap by span name and stack as a log event."""
        stacks_max = profile.STACKS_MAX if final else _STACKS_MAX
        body = profile.take(self._source, stacks_max)
        attributes: dict[str, Any] = {semconv.ATTR_PROFILE_FINAL: final}
        with self.in_telemetry:
            self._events.emit(
                event_name=semconv.EVENT_HEAP_PROFILE,
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                body=body,
                attributes=attributes,
            )

    def do_last(self) -> None:
        """Send what would be lost."""
        with _guard.guard("watcher: final entries"):
            self._fetch_entries()
        if self._config.profile_interval_seconds > 0:
            with _guard.guard("watcher: final profile"):
                self.send_profile(final=True)
