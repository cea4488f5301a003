# SPDX-License-Identifier: Apache-2.0
"""All that charts, flame graphs and exports need of a recording, read in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from otel_memory.recording.file import RecordingReader
from otel_memory.recording.fold import SummaryBuilder, fold
from otel_memory.recording.largest import LargeSpan, LargestSpans
from otel_memory.recording.otlp import Json, read_attributes, resources
from otel_memory.recording.profile import Profile
from otel_memory.recording.summary import Summary
from otel_memory.recording.timeline import (
    LiveTimeline,
    ProcessTimeline,
    TimelineBuilder,
)

_SERVICE_NAME = "service.name"


@dataclass(frozen=True)
class Details:
    """What a recording holds beyond its summary.

    Attributes:
        summary: The tables.
        directory: Where the command was run; `short_file` shortens with it.
        start_seconds: When the run began, in seconds since the epoch.
        service_name: What the first process calls its service; None if it does not.
        profiles: The last one of each process.
        process_timelines: One a process.
        live_timelines: The span names that held most at any time.
        largest_spans: Those with the largest peaks, the largest first.
    """

    summary: Summary
    directory: str
    start_seconds: float
    service_name: str | None
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
    service_name: str | None = None

    def read_further(line: Json) -> None:
        nonlocal service_name
        service_name = service_name or _service_name_in(line)
        largest.add(line)

    summary = fold(reader, builder, read_further)
    # Without a time, the run began with what it reported first.
    start_seconds = reader.start.time_seconds or timelines.first_seconds() or 0.0
    return Details(
        summary=summary,
        directory=reader.start.directory,
        start_seconds=start_seconds,
        service_name=service_name,
        profiles=builder.profiles,
        process_timelines=timelines.processes(start_seconds),
        live_timelines=timelines.live(start_seconds),
        largest_spans=largest.spans(),
    )


def _service_name_in(line: Json) -> str | None:
    for part in resources(line):
        name = read_attributes(part.get("resource")).get(_SERVICE_NAME)
        if isinstance(name, str) and name:
            return name
    return None
