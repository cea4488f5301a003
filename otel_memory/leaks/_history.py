# SPDX-License-Identifier: Apache-2.0
"""The past of one process, as much of it as its verdict needs.

Bounded for processes that live for weeks: a floor for each minute of the last 25
hours, and at most 96 readings of at most 64 pairs of span and entry.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite

from otel_memory.leaks._assess import Assessment, assess
from otel_memory.leaks._suspects import Suspect, suspects
from otel_memory.leaks._trends import HOUR

PAIRS_MAX = 64
READINGS_MAX = 96

_MINUTE = 60.0
_KEPT_SECONDS = 25 * HOUR
# From the first to the last, by doubling; the last one makes 25.6 hours of readings.
_STEP_SECONDS_MIN = 3.75
_STEP_SECONDS_MAX = 960.0
_UNKNOWN = -1
# A pair that is followed gives its place only to one that is so much larger: two that
# change places at every reading would never be judged.
_FOLLOWED_WEIGHT = 2


class _PairReadings:
    """Live bytes and completed spans of one pair, at the last times of all."""

    __slots__ = ("completed", "live_bytes")

    def __init__(self) -> None:
        self.live_bytes, self.completed = array("q"), array("q")


class History:
    """Figures of one process over time, thinned. Never raises for a figure."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._seconds, self._used = array("d"), array("d")
        self._completed = array("q")
        self._step_seconds = _STEP_SECONDS_MIN
        self._pair_seconds = array("d")
        self._pairs: dict[tuple[str, str], _PairReadings] = {}

    def add(self, seconds: float, used_bytes: float, completed: int | None) -> None:
        """Take in one reading; of those in one minute the least counts.

        Times that go back a little are left out. Where they go back far, or spans that
        had completed have not, this is another process: the past is forgotten.

        Args:
            seconds: Since the process started.
            used_bytes: The figure judged.
            completed: Spans completed by then; None where that is not known.
        """
        if not (isfinite(seconds) and isfinite(used_bytes)):
            return
        if min(seconds, used_bytes) < 0:
            return
        count = _UNKNOWN if completed is None else max(completed, 0)
        if self._seconds:
            last = self._seconds[-1]
            if seconds < last - HOUR or _UNKNOWN < count < self._completed[-1]:
                self._forget()
            elif seconds < last:
                return
            elif seconds // _MINUTE == last // _MINUTE:
                self._used[-1] = min(self._used[-1], used_bytes)
                return
        self._seconds.append(seconds)
        self._used.append(used_bytes)
        self._completed.append(count)
        too_old = bisect_left(self._seconds, seconds - _KEPT_SECONDS)
        for column in (self._seconds, self._used, self._completed):
            del column[:too_old]

    def wants_pairs(self, seconds: float) -> bool:
        """Tell whether a reading of rows is due."""
        times = self._pair_seconds
        return not times or seconds >= times[-1] + self._step_seconds

    def add_pairs(
        self, seconds: float, rows: Iterable[tuple[str, str, int, int]]
    ) -> None:
        """Take in one reading of rows, if it is due.

        Args:
            seconds: Since the process started.
            rows: Span, entry, live bytes and completed spans; those of one span and
                entry are summed.
        """
        if not isfinite(seconds) or seconds < 0 or not self.wants_pairs(seconds):
            return
        live_bytes: Counter[tuple[str, str]] = Counter()
        completed: Counter[tuple[str, str]] = Counter()
        for span, entry, live, count in rows:
            live_bytes[span, entry] += max(live, 0)
            completed[span, entry] += max(count, 0)
        self._pair_seconds.append(seconds)
        pairs = {}
        for pair in self._largest(live_bytes):
            readings = self._pairs.get(pair)
            # What goes back to fewer is not the same row any more.
            if readings is None or readings.completed[-1] > completed[pair]:
                readings = _PairReadings()
            readings.live_bytes.append(live_bytes[pair])
            readings.completed.append(completed[pair])
            pairs[pair] = readings
        self._pairs = pairs
        if len(self._pair_seconds) == READINGS_MAX:
            self._thin()

    def _largest(self, live_bytes: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
        def weight(pair: tuple[str, str]) -> int:
            return live_bytes[pair] * (_FOLLOWED_WEIGHT if pair in self._pairs else 1)

        return sorted(live_bytes, key=weight, reverse=True)[:PAIRS_MAX]

    def _thin(self) -> None:
        """Make room: leave out every second reading, or the oldest one."""
        count = len(self._pair_seconds)
        halves = self._step_seconds < _STEP_SECONDS_MAX

        def rest(column: array[float] | array[int]) -> slice:
            first = count - len(column)  # the first of all readings it has part in
            if not halves:
                return slice(0 if first else 1, None)
            # The last reading stays, and with it every second one before.
            return slice((len(column) - 1) % 2, None, 2)

        for readings in self._pairs.values():
            readings.live_bytes = readings.live_bytes[rest(readings.live_bytes)]
            readings.completed = readings.completed[rest(readings.completed)]
        self._pair_seconds = self._pair_seconds[rest(self._pair_seconds)]
        if halves:
            self._step_seconds *= 2

    def assess(self, limit_bytes: float | None = None) -> Assessment:
        """Judge what is known, as `otel_memory.assess` does."""
        is_known = _UNKNOWN not in self._completed
        return assess(
            self._seconds,
            self._used,
            completed=self._completed if is_known else None,
            limit_bytes=limit_bytes or None,
        )

    def suspects(
        self, age_by_pair: Mapping[tuple[str, str], float] | None = None
    ) -> list[Suspect]:
        """Rank the pairs that are followed, as `otel_memory.suspects` does."""
        live_by_pair = {}
        for pair, readings in self._pairs.items():
            times = self._pair_seconds[-len(readings.live_bytes) :]
            live_by_pair[pair] = list(zip(times, readings.live_bytes, strict=True))
        completed_by_pair = {
            pair: readings.completed for pair, readings in self._pairs.items()
        }
        return suspects(live_by_pair, completed_by_pair, age_by_pair)
