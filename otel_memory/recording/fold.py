# SPDX-License-Identifier: Apache-2.0
"""Fold a recording's lines into a summary, one at a time.

So a recording need not fit into memory, and a run can be summed up as it goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from otel_memory import semconv
from otel_memory.recording.file import ATTR_DURATION, RecordingReader, Start
from otel_memory.recording.growth import GrowthSeries
from otel_memory.recording.numbers import finite_number, signed_size, size
from otel_memory.recording.otlp import Json, Point, events, points
from otel_memory.recording.profile import PairFigures, PairKey, Profile, read_profile
from otel_memory.recording.rows import Pair, entries_of, spans_of, suspects_of
from otel_memory.recording.series import ProfileSeries
from otel_memory.recording.stack_tables import packages_of, sites_of
from otel_memory.recording.summary import (
    ENDED_CLEAN,
    ENDED_NOT,
    ENDED_UNREPORTED,
    Process,
    Summary,
    Verdict,
    largest_known,
)

# Full collections free what others bore: that row has no live bytes, and is no
# sort of the JSON contract.
_SORTS_LEFT_OUT = frozenset({semconv.SORT_GC})
_LAST_METRICS = (
    semconv.SPAN_COUNT.name,
    semconv.SPAN_ALLOCATED.name,
    semconv.SPAN_LIVE.name,
)


class _ProcessSeries:
    """What one process has reported so far."""

    def __init__(self, pid: int | None, directory: str) -> None:
        self.pid = pid
        self.rss_bytes: list[int] = []  # First and last only.
        self.rss_peak_bytes: int | None = None
        self.limit_bytes: int | None = None
        self.source: Point | None = None
        self.profile = ProfileSeries(directory)
        self.last: dict[str, dict[PairKey, int]] = {}
        self._live = GrowthSeries[PairKey]()
        self._peak_bytes: dict[PairKey, int] = {}

    def add(self, report: list[Point]) -> None:
        """Take all points of one report.

        A metric that is not in it keeps its last ones: when a process ends, its
        metrics fall silent before the last report is made.
        """
        by_metric: dict[str, list[Point]] = defaultdict(list)
        for point in report:
            by_metric[point.metric].append(point)
        for metric, those in by_metric.items():
            reader = _READERS.get(metric)
            if reader:
                reader(self, those)
            elif metric in _LAST_METRICS:
                self.last[metric] = dict(_known(those))
        if semconv.SPAN_LIVE.name in by_metric:
            self._live.add(self.last[semconv.SPAN_LIVE.name])

    def read_rss(self, those: list[Point]) -> None:
        """Take the resident set size."""
        rss_bytes = size(those[-1].value)
        if rss_bytes is not None:
            self.rss_bytes[1:] = [rss_bytes]
            self.rss_peak_bytes = largest_known([self.rss_peak_bytes, rss_bytes])

    def read_process_peak(self, those: list[Point]) -> None:
        """Take the kernel's own high-water mark."""
        peak_bytes = size(those[-1].value)
        self.rss_peak_bytes = largest_known([self.rss_peak_bytes, peak_bytes])

    def read_limit(self, those: list[Point]) -> None:
        """Take the limit."""
        self.limit_bytes = size(those[-1].value)

    def read_source(self, those: list[Point]) -> None:
        """Take the heap source; the newest where it has changed."""
        self.source = max(those, key=lambda point: point.time_seconds or 0.0)

    def read_span_peaks(self, those: list[Point]) -> None:
        """Take the largest spans, which the gauge forgets after a while."""
        for key, peak_bytes in _known(those):
            self._peak_bytes[key] = max(self._peak_bytes.get(key, 0), peak_bytes)

    def source_attribute(self, name: str) -> object:
        """Read one attribute of the heap source."""
        return self.source.attributes.get(name) if self.source else None

    def to_process(self) -> Process:
        """Sum up the process itself."""
        source = self.source_attribute(semconv.ATTR_HEAP_SOURCE)
        covered = self.source_attribute(semconv.ATTR_HEAP_NATIVE_COVERED)
        return Process(
            pid=self.pid,
            heap_source=str(source) if source is not None else None,
            native_covered=covered if isinstance(covered, bool) else None,
            rss_start_bytes=self.rss_bytes[0] if self.rss_bytes else None,
            rss_end_bytes=self.rss_bytes[-1] if self.rss_bytes else None,
            rss_peak_bytes=self.rss_peak_bytes,
            limit_bytes=self.limit_bytes,
            ended=self._ended(),
        )

    def _ended(self) -> str:
        if self.profile.is_final:
            return ENDED_CLEAN
        last = self.profile.last
        return ENDED_NOT if last and last.is_on_demand else ENDED_UNREPORTED

    def pairs(self) -> list[Pair]:
        """Sum up the pairs; those of the profile, where no metric tells of any."""
        reported = self._reported_pairs() or self._profiled_pairs()
        return [pair for pair in reported if pair.key.sort not in _SORTS_LEFT_OUT]

    def _reported_pairs(self) -> list[Pair]:
        counts, allocated, live = (self.last.get(name, {}) for name in _LAST_METRICS)
        return [
            Pair(
                key,
                counts.get(key),
                allocated.get(key),
                self._peak_bytes.get(key),
                live.get(key),
                self.profile.pairs.get(key, PairFigures()).live_samples,
                self._live.growth(key),
                self.profile.stacks_by_pair.get(key, ()),
            )
            for key in {**counts, **allocated, **live}
        ]

    def _profiled_pairs(self) -> list[Pair]:
        return [
            Pair(
                key,
                figures.count,
                figures.allocated_bytes,
                self._peak_bytes.get(key),
                figures.live_bytes,
                figures.live_samples,
                self.profile.pair_growth_bytes(key),
                self.profile.stacks_by_pair.get(key, ()),
            )
            for key, figures in self.profile.pairs.items()
        ]


_READERS: dict[str, Callable[[_ProcessSeries, list[Point]], None]] = {
    semconv.PROCESS_RSS.name: _ProcessSeries.read_rss,
    semconv.PROCESS_PEAK.name: _ProcessSeries.read_process_peak,
    semconv.LIMIT.name: _ProcessSeries.read_limit,
    semconv.HEAP_SOURCE.name: _ProcessSeries.read_source,
    semconv.SPAN_PEAK.name: _ProcessSeries.read_span_peaks,
}


def _known(those: Iterable[Point]) -> Iterator[tuple[PairKey, int]]:
    """Give what fits into OTLP's integers; a recording may have been edited."""
    for point in those:
        value = signed_size(point.value)
        if value is not None:
            yield _pair_key(point), value


def _pair_key(point: Point) -> PairKey:
    text = [str(point.attributes.get(n) or "") for n in semconv.SPAN_ROW_ATTRIBUTES]
    return PairKey(*text)


class SummaryBuilder:
    """Folds lines of a recording; not for several threads at once.

    Args:
        start: What was run.
        also: Called with each process's report too, so that it is parsed once.
    """

    def __init__(
        self,
        start: Start,
        also: Callable[[int | None, list[Point]], None] | None = None,
    ) -> None:
        self._start = start
        self._also = also
        self._processes: dict[int | None, _ProcessSeries] = {}

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

    def _process(self, pid: int | None) -> _ProcessSeries:
        if pid not in self._processes:
            self._processes[pid] = _ProcessSeries(pid, self._start.directory)
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
            verdict=Verdict(suspects=suspects_of(pairs)),
            packages=packages_of(profiles),
            notes=tuple(notes),
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
