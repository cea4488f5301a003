# SPDX-License-Identifier: Apache-2.0
"""What one process of a run has reported so far, and its figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from otel_memory import semconv
from otel_memory.recording.ages import ages_of
from otel_memory.recording.growth import GrowthSeries
from otel_memory.recording.judge import Candidate, ProcessJudge
from otel_memory.recording.numbers import signed_size, size
from otel_memory.recording.otlp import Point
from otel_memory.recording.profile import PairFigures, PairKey, Stack
from otel_memory.recording.rows import Pair
from otel_memory.recording.series import ProfileSeries
from otel_memory.recording.summary import (
    ENDED_CLEAN,
    ENDED_NOT,
    ENDED_UNREPORTED,
    Process,
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


class ProcessSeries:
    """Takes the reports of one process, in the order of their coming.

    Args:
        pid: The process.
        directory: Where the command was run.
        assess_every_seconds: How much older it must be when it is judged again.
    """

    def __init__(
        self, pid: int | None, directory: str, assess_every_seconds: float
    ) -> None:
        self.pid = pid
        self.judge = ProcessJudge(assess_every_seconds)
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
        self.judge.add(by_metric, self.last, self.limit_bytes)

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

    def candidate(self) -> Candidate:
        """Put the process up for the verdict."""
        return Candidate(self.pid, self.judge, self._age_by_pair)

    def _age_by_pair(self) -> dict[tuple[str, str], float]:
        stacks_by_pair: dict[tuple[str, str], list[Stack]] = defaultdict(list)
        for key, stacks in self.profile.stacks_by_pair.items():
            stacks_by_pair[key.span, key.entry] += stacks
        ages = {pair: ages_of(those) for pair, those in stacks_by_pair.items()}
        return {
            pair: those.mean_seconds
            for pair, those in ages.items()
            if those.mean_seconds is not None
        }

    def to_process(self) -> Process:
        """Sum up the process itself."""
        assessment = self.judge.assessment()
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
            state=assessment.state,
            growth_bytes_per_hour=assessment.growth_bytes_per_hour,
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
                self._growth_bytes(key),
                self.profile.stacks_by_pair.get(key, ()),
            )
            for key in {**counts, **allocated, **live}
        ]

    def _growth_bytes(self, key: PairKey) -> int | None:
        # By the profiles, as sites and packages are: reports begin at another time.
        growth_bytes = self.profile.pair_growth_bytes(key)
        return self._live.growth(key) if growth_bytes is None else growth_bytes

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


_READERS: dict[str, Callable[[ProcessSeries, list[Point]], None]] = {
    semconv.PROCESS_RSS.name: ProcessSeries.read_rss,
    semconv.PROCESS_PEAK.name: ProcessSeries.read_process_peak,
    semconv.LIMIT.name: ProcessSeries.read_limit,
    semconv.HEAP_SOURCE.name: ProcessSeries.read_source,
    semconv.SPAN_PEAK.name: ProcessSeries.read_span_peaks,
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
