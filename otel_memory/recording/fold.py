# SPDX-License-Identifier: Apache-2.0
"""Fold a recording's lines into a summary, one at a time.

So a recording need not fit into memory, and a run can be summed up as it goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from otel_memory import semconv
from otel_memory.recording.alerts import AlertLog
from otel_memory.recording.file import ATTR_DURATION, RecordingReader, Start
from otel_memory.recording.judge import verdict_of
from otel_memory.recording.numbers import finite_number
from otel_memory.recording.otlp import Json, Point, events, points
from otel_memory.recording.process_series import ProcessSeries
from otel_memory.recording.profile import Profile, read_profile
from otel_memory.recording.rows import entries_of, spans_of, suspects_of
from otel_memory.recording.stack_tables import packages_of, sites_of
from otel_memory.recording.summary import Summary

ASSESS_LIVE_SECONDS = 60.0
"""For those who build a summary each second: a verdict takes some milliseconds, and
changes with the minutes."""


class SummaryBuilder:
    """Folds lines of a recording; not for several threads at once.

    Args:
        start: What was run.
        also: Called with each process's report too, so that it is parsed once.
        assess_every_seconds: How much older a process must be when it is judged
            again.
    """

    def __init__(
        self,
        start: Start,
        also: Callable[[int | None, list[Point]], None] | None = None,
        *,
        assess_every_seconds: float = 0.0,
    ) -> None:
        self._start = start
        self._also = also
        self._assess_every_seconds = assess_every_seconds
        self._alerts = AlertLog()
        self._processes: dict[int | None, ProcessSeries] = {}

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The last profile of each process that sent any."""
        series = [process.profile for process in self._processes.values()]
        return tuple(each.last for each in series if each.last is not None)

    def add(self, line: Json) -> None:
        """Take one line of OTLP JSON."""
        reports: dict[int | None, list[Point]] = defaultdict(list)
        for point in points(line):
            if point.metric.startswith(semconv.SCOPE_NAME):
                reports[point.pid].append(point)
        for pid, report in reports.items():
            self._process(pid).add(report)
            if self._also:
                self._also(pid, report)
        for event in events(line):
            profile = read_profile(event)
            if profile:
                self._process(event.pid).profile.add(profile)
            else:
                self._alerts.add(event)

    def _process(self, pid: int | None) -> ProcessSeries:
        if pid not in self._processes:
            self._processes[pid] = ProcessSeries(
                pid, self._start.directory, self._assess_every_seconds
            )
        return self._processes[pid]

    def build(
        self, duration_seconds: float | None, notes: Iterable[str] = ()
    ) -> Summary:
        """Sum up what has been folded so far."""
        processes = list(self._processes.values())
        pairs = [pair for process in processes for pair in process.pairs()]
        profiles = [process.profile for process in processes]
        reasons = {
            str(process.source_attribute(semconv.ATTR_HEAP_REASON) or "")
            for process in processes
        }
        return Summary(
            command=self._start.command,
            duration_seconds=duration_seconds,
            processes=tuple(process.to_process() for process in processes),
            spans=spans_of(pairs),
            entries=entries_of(pairs),
            sites=sites_of(profiles),
            verdict=verdict_of(
                [process.candidate() for process in processes], suspects_of(pairs)
            ),
            packages=packages_of(profiles),
            start_seconds=self._start.time_seconds or None,
            alerts=self._alerts.alerts(),
            notes=(*notes, *self._alerts.notes()),
            heap_reasons=tuple(sorted(reasons - {""})),
        )


def summarise(path: Path) -> Summary:
    """Sum up a recording.

    Raises:
        CommandError: The file is no recording, or is broken.
    """
    reader = RecordingReader(path)
    return fold(reader, SummaryBuilder(reader.start))


def fold(
    reader: RecordingReader,
    builder: SummaryBuilder,
    also: Callable[[Json], None] | None = None,
) -> Summary:
    """Fold a whole recording.

    Args:
        reader: The recording.
        builder: Takes each line.
        also: Called with each line too.

    Raises:
        CommandError: The file is broken.
    """
    for line in reader.lines():
        builder.add(line)
        if also:
            also(line)
    duration_seconds = finite_number((reader.end or {}).get(ATTR_DURATION))
    return builder.build(duration_seconds, reader.notes)
