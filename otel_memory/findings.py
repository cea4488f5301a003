# SPDX-License-Identifier: Apache-2.0
"""What the watcher found out, for those who show it.

Plain attributes: the watcher alone writes them, whole objects at a time, and whoever
reads them needs no lock.
"""

from __future__ import annotations

from otel_memory import semconv
from otel_memory.leaks import Assessment
from otel_memory.process import Details


class Findings:
    """The last findings of this process.

    Attributes:
        assessment: The last verdict; None before the first one.
        details: The last costly reading of memory; None where nobody asked for it.
        watcher_seconds: Processor time that the watcher's thread has taken.
        alerts: How many alerts were raised, by `semconv.ALERT_KINDS`.
    """

    __slots__ = ("alerts", "assessment", "details", "watcher_seconds")

    assessment: Assessment | None
    details: Details | None
    watcher_seconds: float
    alerts: dict[str, int]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: in a forked child nothing was found yet."""
        self.assessment = None
        self.details = None
        self.watcher_seconds = 0.0
        self.alerts = dict.fromkeys(semconv.ALERT_KINDS, 0)
