# SPDX-License-Identifier: Apache-2.0
"""Tell that memory is in trouble: an event, a line in the log, the user's handlers.

All of it with the evidence of that moment, so that whoever is woken by it need not
reproduce anything.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from opentelemetry._logs import Logger, SeverityNumber

from otel_memory import _guard, semconv
from otel_memory.alerts._alarms import Alarms, Change, Memory
from otel_memory.alerts._evidence import Evidence, describe_suspect, take_evidence
from otel_memory.alerts._handlers import Handlers
from otel_memory.alerts._messages import describe
from otel_memory.findings import Findings
from otel_memory.leaks import NOT_ENOUGH_DATA, Assessment, Suspect

__all__ = [
    "RECENT_MAX",
    "Alarms",
    "Alerts",
    "Change",
    "Evidence",
    "Handlers",
    "Memory",
    "MemoryAlert",
    "make_alert",
    "take_evidence",
]

RECENT_MAX = 100

_logger = logging.getLogger("otel_memory")

_INFO = (SeverityNumber.INFO, logging.INFO)
_WARNING = (SeverityNumber.WARN, logging.WARNING)
_ERROR = (SeverityNumber.ERROR, logging.ERROR)


@dataclass(frozen=True)
class MemoryAlert:
    """What handlers of alerts get.

    Attributes:
        kind: `warning`, `critical`, `growth` or `leak`.
        event: The name of the log event, such as `otel_memory.leak.suspected`.
        message: All of it in sentences.
        time_seconds: Since the epoch.
        value: Bytes; bytes per hour for `growth` and `leak`.
        threshold: Likewise; None for `leak`, which has a rule in place of one.
        limit_bytes: Of the container, or the configured one; None without one.
        growth_bytes_per_hour: By the last verdict; None before there is one.
        interval: Between which two it lies, in 95 of 100 cases.
        leak_state: The last verdict's state, as in `Assessment`.
        suspects: Who bears what grows, the fastest first; empty where nobody stands
            out, and when `recovered`.
        top_sites: The lines that hold most, as `shop/cache.py:41 get 118.9 MiB`: of
            the suspects, or of the whole process where there are none.
        recovered: Whether it is over.
    """

    kind: str
    event: str
    message: str
    time_seconds: float
    value: int
    threshold: int | None
    limit_bytes: int | None
    growth_bytes_per_hour: float | None
    interval: tuple[float, float] | None
    leak_state: str
    suspects: tuple[Suspect, ...]
    top_sites: tuple[str, ...]
    recovered: bool


def make_alert(
    change: Change,
    assessment: Assessment | None,
    limit_bytes: int | None,
    evidence: Evidence,
) -> MemoryAlert:
    """Put together what is known of a change."""
    verdict = assessment or Assessment(NOT_ENOUGH_DATA)
    if change.recovered:
        event = semconv.EVENT_RECOVERED
    elif change.kind == semconv.ALERT_LEAK:
        event = semconv.EVENT_LEAK_SUSPECTED
    else:
        event = semconv.EVENT_THRESHOLD_EXCEEDED
    evidence = Evidence() if change.recovered else evidence
    return MemoryAlert(
        kind=change.kind,
        event=event,
        message=describe(change, verdict, evidence),
        time_seconds=time.time(),
        value=round(change.value),
        threshold=None if change.threshold is None else round(change.threshold),
        limit_bytes=limit_bytes,
        growth_bytes_per_hour=verdict.growth_bytes_per_hour,
        interval=verdict.interval,
        leak_state=verdict.state,
        suspects=evidence.suspects,
        top_sites=evidence.top_sites,
        recovered=change.recovered,
    )


def _severity(alert: MemoryAlert) -> tuple[SeverityNumber, int]:
    if alert.recovered:
        return _INFO
    return _ERROR if alert.kind == semconv.ALERT_CRITICAL else _WARNING


def _attributes(alert: MemoryAlert) -> dict[str, Any]:
    growth = alert.growth_bytes_per_hour
    values = {
        semconv.ATTR_ALERT_KIND: alert.kind,
        semconv.ATTR_ALERT_VALUE: alert.value,
        semconv.ATTR_ALERT_THRESHOLD: alert.threshold,
        semconv.ATTR_ALERT_LIMIT: alert.limit_bytes,
        semconv.ATTR_ALERT_GROWTH: None if growth is None else round(growth),
        semconv.ATTR_ALERT_LEAK_STATE: alert.leak_state,
        semconv.ATTR_ALERT_SUSPECTS: [*map(describe_suspect, alert.suspects)] or None,
        semconv.ATTR_ALERT_TOP_SITES: [*alert.top_sites] or None,
    }
    return {name: value for name, value in values.items() if value is not None}


class Alerts:
    """Sends alerts, and keeps the last ones.

    Args:
        events: Where events go.
        findings: Where alerts are counted.
        handlers: The user's.
    """

    def __init__(self, events: Logger, findings: Findings, handlers: Handlers) -> None:
        self._events = events
        self._findings = findings
        self._handlers = handlers
        self._recent: deque[MemoryAlert] = deque(maxlen=RECENT_MAX)

    def recent(self) -> tuple[MemoryAlert, ...]:
        """Give the last alerts of this process, the oldest first."""
        return tuple(self._recent)

    def reset(self) -> None:
        """Forget everything in a forked child."""
        self._recent = deque(maxlen=RECENT_MAX)
        self._handlers.reset()

    def close(self) -> None:
        """End the handlers' thread after what waits for it; nobody waits for that."""
        self._handlers.close()

    def send(self, alert: MemoryAlert) -> None:
        """Tell everybody. The caller sees to it that no fork comes in between.

        The log first, which needs neither a network nor a thread; what fails costs
        the other ways nothing.
        """
        self._recent.append(alert)
        if not alert.recovered:
            self._findings.alerts[alert.kind] += 1
        with _guard.guard("alerts: log"):
            _logger.log(_severity(alert)[1], "%s", alert.message)
        with _guard.guard("alerts: event"):
            self._emit(alert)
        with _guard.guard("alerts: handlers"):
            self._handlers.hand_over(alert)

    def _emit(self, alert: MemoryAlert) -> None:
        self._events.emit(
            event_name=alert.event,
            timestamp=int(alert.time_seconds * 1e9),
            severity_number=_severity(alert)[0],
            severity_text=_severity(alert)[0].name,
            body=alert.message,
            attributes=_attributes(alert),
        )
