# SPDX-License-Identifier: Apache-2.0
"""What the watcher found out, for those who show it.

Plain attributes: the watcher alone writes them, whole objects at a time, and whoever
reads them needs no lock.
"""

from __future__ import annotations

import os
from typing import ClassVar

from otel_memory import semconv
from otel_memory.leaks import Assessment
from otel_memory.process import Details


class Findings:
    """The last findings of this process.

    What is counted belongs to the process, and goes on counting after an
    `uninstrument()`: a sum that falls would be taken for a new process.

    Attributes:
        assessment: The last verdict; None before the first one.
        details: The last costly reading of memory; None where nobody asked for it.
        watcher_seconds: Processor time that the watcher has taken.
        alerts: How many alerts were raised, by `semconv.ALERT_KINDS`.
    """

    __slots__ = ("assessment", "details")

    assessment: Assessment | None
    details: Details | None
    watcher_seconds: ClassVar[float] = 0.0
    alerts: ClassVar[dict[str, int]] = dict.fromkeys(semconv.ALERT_KINDS, 0)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything but the sums: in a forked child nothing was found yet."""
        self.assessment = None
        self.details = None

    @classmethod
    def count_watcher(cls, seconds: float) -> None:
        """Add processor time of the watcher's."""
        cls.watcher_seconds += seconds


def _count_anew() -> None:
    Findings.watcher_seconds = 0.0
    Findings.alerts = dict.fromkeys(semconv.ALERT_KINDS, 0)


os.register_at_fork(after_in_child=_count_anew)
