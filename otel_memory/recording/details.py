# SPDX-License-Identifier: Apache-2.0
"""All that charts, flame graphs and exports need of a recording, read in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from otel_memory.recording.file import RecordingReader
from otel_memory.recording.fold import SummaryBuilder, fold
from otel_memory.recording.largest import LargeSpan, LargestSpans
from otel_memory.recording.profile import Profile
from otel_memory.recording.summary import Summary
from otel_memory.recording.timeline import (
    LiveTimeline,
    ProcessTimeline,
    TimelineBuilder,
)


@dataclass(frozen=True)
class Details:
    """What a recording holds beyond its summary.

    Attributes:
        summary: The tables.
        directory: Where the command was run; `short_file` shortens with it.
        start_seconds: When the run began, in seconds since the epoch.
        profiles: The last one of each process.
        process_timelines: One a process.
        live_timelines: The span names that held most at any time.
        largest_spans: Those with the largest peaks, the largest first.
    """

    summary: Summary
    directory: str
    start_seconds: float
    profiles: tuple[Profile, ...]
    process_timelines: tuple[ProcessTimeline, ...]
    live_timelines: tuple[LiveTimeline, ...]
    largest_spans: tuple[LargeSpan, ...]


def read_details(path: Path) -> Details:
    """Read a recording; memory is bounded, however long it is.

    Raises:
        CommandError: The file is no recording, or is broken.
    """
    reader = RecordingReader(path)
    timelines, largest = TimelineBuilder(), LargestSpans()
    builder = SummaryBuilder(reader.start, timelines.add)
    summary = fold(reader, builder, largest.add)
    # Without a time, the run began with what it reported first.
    start_seconds = reader.start.time_seconds or timelines.first_seconds() or 0.0
    return Details(
        summary=summary,
        directory=reader.start.directory,
        start_seconds=start_seconds,
        profiles=builder.profiles,
        process_timelines=timelines.processes(start_seconds),
        live_timelines=timelines.live(start_seconds),
        largest_spans=largest.spans(),
    )
