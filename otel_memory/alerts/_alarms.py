# SPDX-License-Identifier: Apache-2.0
"""When an alert is due, and when it is over.

Pure: readings and verdicts go in, changes come out; no clock, no thread. An alarm
goes off once, after several readings in a row, so that a single tooth of the collector
raises none; where half of what is left to the limit is gone by then, there is no time
for that, and one will do. It is over only after the memory has been clearly lower for
a while, so that it does not flap around its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from otel_memory import semconv
from otel_memory._settings import Threshold
from otel_memory.leaks import GROWING, LEAKING, NOT_ENOUGH_DATA, Assessment

_RECOVERY_FRACTION = 0.9


class Change(NamedTuple):
    """An alarm that went off, or that is over.

    Attributes:
        kind: One of `semconv.ALERT_KINDS`.
        recovered: Whether it is over.
        value: Bytes; bytes per hour for `growth` and `leak`.
        threshold: Likewise; None for `leak`, which has a rule in place of a threshold.
        limit_bytes: What the value is a share of; None where it is not one.
    """

    kind: str
    recovered: bool
    value: float
    threshold: float | None
    limit_bytes: int | None = None


class Memory(NamedTuple):
    """One reading of what thresholds are judged on.

    Attributes:
        rss_bytes: Of the process.
        usage_bytes: What counts against the limit; None without one.
        limit_bytes: None where there is no limit.
    """

    rss_bytes: int
    usage_bytes: int | None
    limit_bytes: int | None


class Alarm:
    """One alarm.

    Args:
        bad_times: It goes off after so many bad looks in a row.
        good_times: It is over after so many good ones.
    """

    def __init__(self, bad_times: int, good_times: int) -> None:
        self._bad_times, self._good_times = bad_times, good_times
        self._times = 0
        self.is_on = False

    def look(self, *, bad: bool, good: bool, worst: bool = False) -> bool:
        """Take in one look; tell whether `is_on` changed.

        Args:
            bad: Whether it speaks for the alarm.
            good: Whether it speaks against it; it may do neither.
            worst: Whether it is enough by itself.
        """
        counts = good if self.is_on else bad
        needed = self._good_times if self.is_on else self._bad_times
        self._times = self._times + 1 if counts else 0
        if self._times < needed and (self.is_on or not worst):
            return False
        self._times = 0
        self.is_on = not self.is_on
        return True


class Alarms:
    """All alarms of one process.

    Args:
        thresholds: Of memory, by kind; None where there shall be no alarm.
        growth_bytes_per_hour: The threshold of growth, if there is one.
    """

    def __init__(
        self,
        thresholds: Mapping[str, Threshold | None],
        growth_bytes_per_hour: float | None,
    ) -> None:
        self._thresholds = {
            kind: (threshold, Alarm(3, 6))
            for kind, threshold in thresholds.items()
            if threshold is not None
        }
        self._growth_threshold = growth_bytes_per_hour
        self._growth = Alarm(2, 3)
        self._leak = Alarm(1, 3)

    def see_memory(self, memory: Memory) -> list[Change]:
        """Judge one reading; thresholds of a limit that is not there are silent."""
        changes = []
        for kind, (threshold, alarm) in self._thresholds.items():
            value: int | None = memory.rss_bytes
            limit_bytes = None
            at_bytes: float | None = threshold.size_bytes
            if threshold.fraction is not None:
                value, limit_bytes = memory.usage_bytes, memory.limit_bytes
                at_bytes = threshold.fraction * limit_bytes if limit_bytes else None
            if value is None or at_bytes is None:
                continue
            good = value < _RECOVERY_FRACTION * at_bytes
            worst = limit_bytes is not None and value >= (at_bytes + limit_bytes) / 2
            if alarm.look(bad=value >= at_bytes, good=good, worst=worst):
                over = not alarm.is_on
                changes.append(Change(kind, over, value, at_bytes, limit_bytes))
        return changes

    def see_verdict(self, assessment: Assessment) -> list[Change]:
        """Judge one verdict."""
        if assessment.state == NOT_ENOUGH_DATA:
            return []
        changes = []
        rate = assessment.growth_bytes_per_hour or 0.0
        grows = assessment.state in (GROWING, LEAKING)
        threshold = self._growth_threshold
        if threshold is not None and self._growth.look(
            bad=grows and rate >= threshold,
            good=not grows or rate < _RECOVERY_FRACTION * threshold,
        ):
            over = not self._growth.is_on
            changes.append(Change(semconv.ALERT_GROWTH, over, rate, threshold))
        if self._leak.look(bad=assessment.state == LEAKING, good=not grows):
            over = not self._leak.is_on
            changes.append(Change(semconv.ALERT_LEAK, over, rate, None))
        return changes
