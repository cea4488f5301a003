# SPDX-License-Identifier: Apache-2.0
"""The verdict on each process, made of what it reports, and the worst of them.

Whatever a recording says, it ends in a verdict: readings that cannot be are left out,
and a process that begins anew under a number that was there before is judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from otel_memory import leaks, semconv
from otel_memory.leaks import NOT_ENOUGH_DATA, Assessment, History
from otel_memory.recording.numbers import mean, size
from otel_memory.recording.otlp import Point
from otel_memory.recording.profile import PairKey
from otel_memory.recording.summary import Suspect, Verdict

SUSPECTS_MAX = 5

# A clock that steps back by less is put right again, or two reports have overtaken
# one another; by more, it is another process.
_RESTART_SECONDS = 60.0
# What is summed up in (other) was completed too, and stays there for good when a
# name gets rows of its own: without it, that would be a burst of traffic.
_SORTS_COMPLETED = frozenset({semconv.SORT_SPAN, semconv.SORT_OTHER})

PairCounts = Mapping[PairKey, int]
AgeByPair = Mapping[tuple[str, str], float]


class _Life(NamedTuple):
    """What was found out about a process that is gone."""

    assessment: Assessment
    suspects: list[leaks.Suspect]


class ProcessJudge:
    """Judges one process by its reports, in the order of their coming.

    Args:
        every_seconds: Of the process's life, between two assessments; each costs a
            few milliseconds. By default, each that is asked for is made anew.
    """

    def __init__(self, every_seconds: float = 0.0) -> None:
        self._every_seconds = every_seconds
        self._earlier: _Life | None = None
        self._is_anonymous = False
        self._limit_bytes: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._history = History()
        self._born_seconds: float | None = None
        self._last_seconds: float | None = None
        self._completed: int | None = None
        self._assessment: Assessment | None = None
        self._suspects: list[leaks.Suspect] | None = None
        self._assessed_seconds: float | None = None

    def add(
        self,
        report: Mapping[str, Sequence[Point]],
        last: Mapping[str, PairCounts],
        limit_bytes: int | None,
    ) -> None:
        """Take one report.

        Args:
            report: Its points, by metric.
            last: The last figures of each pair, by metric, this report's among them.
            limit_bytes: What the process may take.
        """
        # The check of figures refuses a limit of nothing.
        used_bytes = self._used_bytes(report)
        usages = report.get(semconv.LIMIT_USAGE.name)
        usage_bytes = size(usages[-1].value) if usages else None
        room_bytes = leaks.room_bytes(limit_bytes, usage_bytes, used_bytes)
        self._limit_bytes = room_bytes or None
        seconds = self._seconds_of(report)
        if used_bytes is None or seconds is None:
            return
        counts = last.get(semconv.SPAN_COUNT.name, {} if _counts(report) else None)
        completed = None if counts is None else _completed(counts)
        last_seconds = self._last_seconds
        if last_seconds is not None:
            is_back = seconds < last_seconds - _RESTART_SECONDS
            if seconds <= last_seconds and not is_back:
                return
            if is_back or self._has_fallen(completed):
                self._end_life()
                again = self._seconds_of(report)
                seconds = seconds if again is None else again
        self._last_seconds = seconds
        self._completed = completed
        self._history.add(seconds, used_bytes, completed)
        if semconv.SPAN_LIVE.name in report and self._history.wants_pairs(seconds):
            live = last.get(semconv.SPAN_LIVE.name, {})
            self._history.add_pairs(seconds, _rows(live, counts or {}))

    def _used_bytes(self, report: Mapping[str, Sequence[Point]]) -> int | None:
        anonymous = report.get(semconv.PROCESS_ANONYMOUS.name)
        self._is_anonymous = self._is_anonymous or bool(anonymous)
        # Not the one for the other: that would be a step.
        name = semconv.PROCESS_RSS.name
        points = anonymous if self._is_anonymous else report.get(name)
        return size(points[-1].value) if points else None

    def _seconds_of(self, report: Mapping[str, Sequence[Point]]) -> float | None:
        """Tell how old the process was, or at least how long it has reported."""
        times = [p.time_seconds for those in report.values() for p in those]
        now = max((time for time in times if time), default=None)
        uptimes = report.get(semconv.PROCESS_UPTIME.name)
        uptime_seconds = mean(uptimes[-1].value) if uptimes else None
        if uptime_seconds is not None:
            if now is not None:
                self._born_seconds = now - uptime_seconds
            return uptime_seconds
        if now is None:
            return None
        if self._born_seconds is None:
            self._born_seconds = now
        return max(now - self._born_seconds, 0.0)

    def _has_fallen(self, completed: int | None) -> bool:
        if completed is None or self._completed is None:
            return False
        return completed < self._completed

    def _end_life(self) -> None:
        ended = _Life(self._assess(), self._history.suspects())
        if self._earlier is None or _badness(ended.assessment) >= _badness(
            self._earlier.assessment
        ):
            self._earlier = ended
        self._begin()

    def _assess(self) -> Assessment:
        return self._history.assess(self._limit_bytes)

    def _refresh(self) -> None:
        """Forget what was found out, if enough was reported since."""
        last, assessed = self._last_seconds, self._assessed_seconds
        if last is None or last == assessed:
            return
        if assessed is None or last >= assessed + self._every_seconds:
            self._assessed_seconds = last
            self._assessment, self._suspects = None, None

    def assessment(self) -> Assessment:
        """Judge; where several processes had one number, the worst of them."""
        self._refresh()
        if self._assessment is None:
            self._assessment = self._assess()
        earlier = self._earlier
        if earlier and _badness(earlier.assessment) > _badness(self._assessment):
            return earlier.assessment
        return self._assessment

    def suspects(self, age_by_pair: AgeByPair) -> list[leaks.Suspect]:
        """Rank the pairs that bear what grows, of the process that was judged."""
        if self._earlier and self.assessment() is self._earlier.assessment:
            return self._earlier.suspects
        if self._suspects is None:
            self._suspects = self._history.suspects(age_by_pair)
        return self._suspects


def _counts(report: Mapping[str, Sequence[Point]]) -> bool:
    """Tell whether spans are counted, though none may have been completed yet."""
    return any(
        point.attributes.get(semconv.ATTR_HEAP_SOURCE) == semconv.SOURCE_NATIVE
        for point in report.get(semconv.HEAP_SOURCE.name, ())
    )


def _completed(counts: PairCounts) -> int:
    return sum(
        max(count, 0) for key, count in counts.items() if key.sort in _SORTS_COMPLETED
    )


def _rows(live: PairCounts, counts: PairCounts) -> Iterable[tuple[str, str, int, int]]:
    return [
        (key.span, key.entry, max(live_bytes, 0), max(counts.get(key, 0), 0))
        for key, live_bytes in live.items()
        if key.sort not in leaks.SORTS_WITHOUT_SUSPECT
    ]


class Candidate(NamedTuple):
    """One process when the worst is looked for."""

    pid: int | None
    judge: ProcessJudge
    age_by_pair: Callable[[], AgeByPair]


def verdict_of(processes: Sequence[Candidate], largest: tuple[Suspect, ...]) -> Verdict:
    """Give the verdict on a run: that of its worst process.

    Args:
        processes: All that reported.
        largest: Who holds most; stands for suspects where nobody can tell yet.
    """
    if not processes:
        return Verdict(suspects=largest)
    assessments = [each.judge.assessment() for each in processes]
    worst, assessment = max(
        zip(processes, assessments, strict=True), key=lambda each: _badness(each[1])
    )
    suspects = tuple(
        Suspect(each.span, each.entry, each.growth_bytes_per_hour, int(each.live_bytes))
        for each in worst.judge.suspects(worst.age_by_pair())[:SUSPECTS_MAX]
    )
    if not suspects and assessment.state == NOT_ENOUGH_DATA:
        suspects = largest
    return Verdict(
        state=assessment.state,
        growth_bytes_per_hour=assessment.growth_bytes_per_hour,
        interval=assessment.interval,
        suspects=suspects,
        seconds_to_limit=assessment.seconds_to_limit,
        pid=worst.pid,
        processes=sum(each.state == assessment.state for each in assessments),
    )


def _badness(assessment: Assessment) -> tuple[int, float]:
    state = semconv.LEAK_STATES.index(assessment.state)
    return state, assessment.growth_bytes_per_hour or 0.0
