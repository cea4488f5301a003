# SPDX-License-Identifier: Apache-2.0
"""How the figures of a run changed with time.

However long a run, no line has more than `POINTS_MAX` points: neighbours are merged
into one that has the largest figures of both. That is done while reading, so that
memory is bounded.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from otel_memory import semconv
from otel_memory.recording.numbers import signed_size
from otel_memory.recording.otlp import Point

POINTS_MAX = 1000  # even, see `_halve`
LIVE_TIMELINES_MAX = 12

# A recording has a report of each process at least every 20 seconds. One that is
# silent for longer has ended, and what lived in it lives no more.
_SILENT_SECONDS_MAX = 30.0
# Less than any figure, so that the larger of two is the one that is known.
_UNKNOWN = -(2**63)

_Column = TypeVar("_Column", bound=Hashable)


@dataclass(frozen=True)
class ProcessTimeline:
    """The figures of one process; all tuples are of one length.

    Attributes:
        pid: The process.
        seconds: Since the start of the run.
        rss_bytes: Resident set size.
        anonymous_bytes: That without file and shared pages.
        heap_bytes: What the allocators handed out and have not got back.
        limit_bytes: The limit.
    """

    pid: int | None
    seconds: tuple[float, ...]
    rss_bytes: tuple[int | None, ...]
    anonymous_bytes: tuple[int | None, ...]
    heap_bytes: tuple[int | None, ...]
    limit_bytes: tuple[int | None, ...]


@dataclass(frozen=True)
class LiveTimeline:
    """Live bytes of one span name, summed over the processes that ran then."""

    sort: str
    name: str
    seconds: tuple[float, ...]
    live_bytes: tuple[int | None, ...]


class _Readings(Generic[_Column]):
    """Readings of some figures at increasing times, thinned as they come."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self._columns: dict[_Column, array[int]] = {}
        self._readings_per_point = 1
        self._readings_in_last = 1

    def add(self, seconds: float, figures: Mapping[_Column, int]) -> None:
        """Take the next reading."""
        if self._seconds and self._readings_in_last < self._readings_per_point:
            self._readings_in_last += 1
        else:
            self._append(seconds)
        for column, figure in figures.items():
            known = self._columns.get(column)
            if known is None:
                known = array("q", [_UNKNOWN]) * len(self._seconds)
                self._columns[column] = known
            known[-1] = max(known[-1], figure)
        if len(self._seconds) > POINTS_MAX:
            self._halve()

    def _append(self, seconds: float) -> None:
        # A report that was held back may be written after a later one.
        last_seconds = self._seconds[-1] if self._seconds else seconds
        self._seconds.append(max(seconds, last_seconds))
        self._readings_in_last = 1
        for known in self._columns.values():
            known.append(_UNKNOWN)

    def _halve(self) -> None:
        # The last point has no neighbour: it has just begun, and more will join it.
        self._readings_per_point *= 2
        self._seconds = self._seconds[::2]
        for column, known in self._columns.items():
            pairs = zip(known[::2], [*known[1::2], _UNKNOWN], strict=True)
            self._columns[column] = array("q", map(max, pairs))

    def first_seconds(self) -> float | None:
        """Tell when the first reading was made."""
        return self._seconds[0] if self._seconds else None

    def seconds(self, start_seconds: float) -> tuple[float, ...]:
        """Give the times, counted from the start."""
        return tuple(seconds - start_seconds for seconds in self._seconds)

    def column(self, column: _Column) -> tuple[int | None, ...]:
        """Give the readings of one figure; None where it is unknown."""
        known = self._columns.get(column, [_UNKNOWN] * len(self._seconds))
        return tuple(None if each == _UNKNOWN else each for each in known)

    def largest(self, count: int) -> list[_Column]:
        """Give the columns that held most at any time, the largest first."""
        most = {column: max(known) for column, known in self._columns.items()}
        columns = sorted(most, key=lambda column: -most[column])
        return [column for column in columns if most[column] > 0][:count]


class _LiveKey(NamedTuple):
    sort: str
    name: str


@dataclass
class _Holder:
    """What one process held when it last reported."""

    last_seconds: float
    live_bytes: Mapping[_LiveKey, int]


class _Totals:
    """Sums over processes, kept up to date as each of them reports or ends."""

    def __init__(self) -> None:
        self._holders: dict[int | None, _Holder] = {}
        self._bytes: Counter[_LiveKey] = Counter()
        self._processes: Counter[_LiveKey] = Counter()

    def update(
        self, pid: int | None, seconds: float, live_bytes: Mapping[_LiveKey, int]
    ) -> dict[_LiveKey, int]:
        """Take what one process holds.

        Returns:
            What all hold now.
        """
        oldest_seconds = seconds - _SILENT_SECONDS_MAX
        for other, holder in list(self._holders.items()):
            if other == pid or holder.last_seconds < oldest_seconds:
                self._count(holder.live_bytes, -1)
                del self._holders[other]
        self._holders[pid] = _Holder(seconds, live_bytes)
        self._count(live_bytes, 1)
        return {
            key: self._bytes[key]
            for key, processes in self._processes.items()
            if processes
        }

    def _count(self, live_bytes: Mapping[_LiveKey, int], sign: int) -> None:
        for key, each_bytes in live_bytes.items():
            self._bytes[key] += sign * each_bytes
            self._processes[key] += sign


_PROCESS_METRICS = {
    semconv.PROCESS_RSS.name: "rss_bytes",
    semconv.PROCESS_ANONYMOUS.name: "anonymous_bytes",
    semconv.HEAP_USAGE.name: "heap_bytes",
    semconv.LIMIT.name: "limit_bytes",
}


class TimelineBuilder:
    """Takes the reports of all processes, in the order in which they were written."""

    def __init__(self) -> None:
        self._processes: dict[int | None, _Readings[str]] = {}
        self._live = _Readings[_LiveKey]()
        self._totals = _Totals()

    def add(self, pid: int | None, report: list[Point]) -> None:
        """Take one report of one process."""
        times = [point.time_seconds for point in report if point.time_seconds]
        if not times:
            return
        seconds = max(times)
        process_bytes: dict[str, int] = {}
        live_bytes: dict[_LiveKey, int] = defaultdict(int)
        for point in report:
            value = signed_size(point.value)
            if value is None:
                continue
            if point.metric in _PROCESS_METRICS:
                process_bytes[_PROCESS_METRICS[point.metric]] = value
            elif point.metric == semconv.SPAN_LIVE.name:
                live_bytes[_live_key(point)] += value
        if process_bytes:
            readings = self._processes.setdefault(pid, _Readings())
            readings.add(seconds, process_bytes)
        if live_bytes:
            self._live.add(seconds, self._totals.update(pid, seconds, live_bytes))

    def first_seconds(self) -> float | None:
        """Tell when the first report was made; None if there was none."""
        firsts = [each.first_seconds() for each in self._processes.values()]
        firsts.append(self._live.first_seconds())
        return min((first for first in firsts if first is not None), default=None)

    def processes(self, start_seconds: float) -> tuple[ProcessTimeline, ...]:
        """Give the timeline of each process.

        Args:
            start_seconds: When the run began, in seconds since the epoch.
        """
        return tuple(
            ProcessTimeline(
                pid,
                readings.seconds(start_seconds),
                **{name: readings.column(name) for name in _PROCESS_METRICS.values()},
            )
            for pid, readings in self._processes.items()
        )

    def live(self, start_seconds: float) -> tuple[LiveTimeline, ...]:
        """Give the timelines of the span names that held most at any time."""
        seconds = self._live.seconds(start_seconds)
        return tuple(
            LiveTimeline(key.sort, key.name, seconds, self._live.column(key))
            for key in self._live.largest(LIVE_TIMELINES_MAX)
        )


def _live_key(point: Point) -> _LiveKey:
    attributes = point.attributes
    return _LiveKey(
        str(attributes.get(semconv.ATTR_SORT) or ""),
        str(attributes.get(semconv.ATTR_SPAN_NAME) or ""),
    )
