# SPDX-License-Identifier: Apache-2.0
"""The alerts that processes raised, read from their events, within bounds."""

from __future__ import annotations

from collections import deque
from typing import Any

from otel_memory import semconv
from otel_memory.recording.otlp import Event
from otel_memory.recording.summary import Alert

ALERTS_MAX = 100

_TEXT_CHARACTERS_MAX = 1000
_TEXTS_MAX = 10
# What is said where the event brings no words of its own.
_WORDS = {
    semconv.EVENT_THRESHOLD_EXCEEDED: "A threshold was exceeded.",
    semconv.EVENT_LEAK_SUSPECTED: "A leak is suspected.",
    semconv.EVENT_RECOVERED: "Recovered.",
}


def read_alert(event: Event) -> Alert | None:
    """Read an alert; None where the event is none."""
    if event.name not in _WORDS:
        return None
    attributes = event.attributes
    return Alert(
        time_seconds=event.time_seconds,
        pid=event.pid,
        event=event.name,
        kind=_text(attributes.get(semconv.ATTR_ALERT_KIND)),
        message=_text(event.body) or _WORDS[event.name],
        suspects=_texts(attributes.get(semconv.ATTR_ALERT_SUSPECTS)),
        top_sites=_texts(attributes.get(semconv.ATTR_ALERT_TOP_SITES)),
    )


def _text(value: Any) -> str:
    return value[:_TEXT_CHARACTERS_MAX] if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    texts = [_text(each) for each in value] if isinstance(value, list) else []
    return tuple(text for text in texts[:_TEXTS_MAX] if text)


class AlertLog:
    """Keeps the last alerts of a run."""

    def __init__(self) -> None:
        self._alerts: deque[Alert] = deque(maxlen=ALERTS_MAX)
        self._taken = 0

    def add(self, event: Event) -> None:
        """Take an event, which need not be an alert."""
        alert = read_alert(event)
        if alert:
            self._taken += 1
            self._alerts.append(alert)

    def alerts(self) -> tuple[Alert, ...]:
        """Give them, the oldest first."""
        # Batches of several processes come as they come.
        return tuple(sorted(self._alerts, key=lambda each: each.time_seconds or 0.0))

    def notes(self) -> list[str]:
        """Say what was left out, in sentences."""
        left_out = self._taken - len(self._alerts)
        return [f"The first {left_out:,} alerts are left out."] if left_out else []
