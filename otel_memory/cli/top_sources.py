# SPDX-License-Identifier: Apache-2.0
"""Where `otel-memory top` has its figures from: a recording, or a process itself.

Both are asked again and again, and add up what they hear.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import psutil

from otel_memory.cli.top_client import ask
from otel_memory.errors import CommandError
from otel_memory.recording.file import (
    ATTR_DURATION,
    ATTR_EXIT_CODE,
    EVENT_ENDED,
    Start,
    events_of,
    parse_line,
    read_start,
)
from otel_memory.recording.fold import ASSESS_LIVE_SECONDS, SummaryBuilder
from otel_memory.recording.numbers import finite_number, whole_number
from otel_memory.recording.otlp import Json, Point
from otel_memory.recording.summary import Process, Summary
from otel_memory.recording.tail import RecordingTail
from otel_memory.semconv import GROWTH, LEAK_STATE, LEAK_STATES, PROCESS_RSS

_FIRST_LINE_BYTES_MAX = 4 * 1024**2


class Source(Protocol):
    """What can be watched.

    Attributes:
        title: What it is called.
        since: Since when growth is counted, to be read after that word.
        trouble: Why nothing new is heard at the moment, or None.
        last_words: Why nothing more will come, or None.
    """

    title: str
    since: str
    trouble: str | None
    last_words: str | None

    def refresh(self) -> None:
        """Take what is new.

        Raises:
            CommandError: There is nothing to be heard.
        """

    def summary(self) -> Summary:
        """Sum up what was heard so far."""

    def close(self) -> None:
        """Need nothing more."""


class _Figures:
    """A summary in the making, in which a process's own verdict counts.

    It has watched itself for longer than we have.
    """

    def __init__(self, start: Start) -> None:
        self.start = start
        self._builder = SummaryBuilder(
            start, self._read_verdict, assess_every_seconds=ASSESS_LIVE_SECONDS
        )
        self._reports: Counter[int | None] = Counter()
        self._states: dict[int | None, str] = {}
        self._growth: dict[int | None, float | None] = {}

    def add(self, line: Json) -> None:
        self._builder.add(line)

    def build(self, duration_seconds: float | None) -> Summary:
        summary = self._builder.build(duration_seconds)
        processes = tuple(map(self._judged, summary.processes))
        return replace(summary, processes=processes)

    def _read_verdict(self, pid: int | None, report: list[Point]) -> None:
        values = {point.metric: point.value for point in report}
        self._reports[pid] += PROCESS_RSS.name in values
        state = whole_number(values.get(LEAK_STATE.name))
        if state is not None and 0 <= state < len(LEAK_STATES):
            self._states[pid] = LEAK_STATES[state]
            self._growth[pid] = values.get(GROWTH.name)

    def _judged(self, process: Process) -> Process:
        pid = process.pid
        if self._reports[pid] < 2:  # One reading alone says nothing about growth.
            process = replace(process, rss_start_bytes=None)
        if pid not in self._states:
            return process
        state, growth = self._states[pid], self._growth[pid]
        return replace(process, state=state, growth_bytes_per_hour=growth)


class RecordingSource:
    """A recording, while it is written or afterwards.

    Raises:
        CommandError: The file cannot be read, is no recording, or has no line yet.
    """

    since = "the first report"

    def __init__(self, path: Path) -> None:
        self.title = path.name
        self.trouble: str | None = None
        self.last_words: str | None = None
        self._path = path
        if not _has_begun(path):
            raise CommandError(
                f"{path} has no whole line yet; if its run has just begun, try again"
            )
        self._begin()

    def _begin(self) -> None:
        self._tail = RecordingTail(self._path)
        self._figures = _Figures(self._tail.start)

    def refresh(self) -> None:
        """Take the lines that have come.

        Raises:
            CommandError: One is broken, or the file became something else.
        """
        is_removed = self._tail.is_removed()
        if not is_removed and (self.trouble or self._tail.is_replaced()):
            self._take_next()
        if self.trouble is None:
            self._read()
        if is_removed and self.last_words is None:
            self.last_words = "The recording was removed."

    def _take_next(self) -> None:
        """Go on with the run that has taken the name, once it has written anything."""
        if _has_begun(self._path):
            self._tail.close()
            self._begin()
            self.trouble = None
        else:
            self.trouble = "another run has begun, and has written nothing yet"

    def _read(self) -> None:
        for line in self._tail.lines():
            self._figures.add(line)
        if self._tail.end is not None:
            exit_code = whole_number(self._tail.end.get(ATTR_EXIT_CODE))
            code = "" if exit_code is None else f" with exit code {exit_code}"
            self.last_words = f"The run has ended{code}."

    def summary(self) -> Summary:
        """Sum up what was read so far."""
        end = self._tail.end
        if end is None:
            return self._figures.build(_seconds_since(self._figures.start))
        return self._figures.build(finite_number(end.get(ATTR_DURATION)))

    def close(self) -> None:
        """Close the file."""
        self._tail.close()


def _has_begun(path: Path) -> bool:
    """Tell whether the first line is there; of what can have none, too."""
    if not path.is_file():
        return True
    with suppress(OSError), path.open("rb") as file:
        first = file.readline(_FIRST_LINE_BYTES_MAX)
        return first.endswith(b"\n") or len(first) == _FIRST_LINE_BYTES_MAX
    return True


class ProcessSource:
    """A process that answers on its socket.

    Args:
        pid: The process.
        timeout_seconds: For an answer.

    Raises:
        CommandError: It does not exist, or is somebody else's.
    """

    def __init__(self, pid: int, timeout_seconds: float) -> None:
        self.title = f"process {pid}"
        self.since = time.strftime("%H:%M:%S")
        self.trouble: str | None = None
        self.last_words: str | None = None
        self._pid, self._timeout_seconds = pid, timeout_seconds
        self._figures: _Figures | None = None
        try:
            self._process = psutil.Process(pid)
            with self._process.oneshot():
                uids, owner = self._process.uids(), self._process.username()
        except (psutil.NoSuchProcess, OverflowError, ValueError):
            raise CommandError(f"there is no process {pid}") from None
        except psutil.AccessDenied:
            raise CommandError(f"process {pid} belongs to another user") from None
        # A server opens its socket first, and then becomes another user.
        self._uids = (uids.effective, uids.real)
        if os.geteuid() not in (0, uids.effective):
            raise CommandError(
                f"process {pid} belongs to {owner}; only {owner} and root can ask it"
            )

    def refresh(self) -> None:
        """Ask the process.

        Raises:
            CommandError: It has never answered.
        """
        try:
            self._take(ask(self._pid, self._uids, self._timeout_seconds))
            self.trouble = None
        except CommandError as error:
            problem = error
            if self._has_ended():
                self.last_words = f"Process {self._pid} has ended."
                problem = CommandError(f"process {self._pid} has ended")
            if self._figures is None:
                raise problem from None
            self.trouble = None if self.last_words else problem.message

    def _has_ended(self) -> bool:
        try:
            is_zombie = self._process.status() == psutil.STATUS_ZOMBIE
            return is_zombie or not self._process.is_running()
        except psutil.NoSuchProcess:
            return True

    def _take(self, answer: bytes) -> None:
        lines = [parse_line(raw) for raw in answer.splitlines()]
        if not lines or next(events_of(lines[-1], EVENT_ENDED), None) is None:
            raise CommandError(
                f"process {self._pid} gives no figures; is it still instrumented?"
            )
        if self._figures is None:
            self._figures = _Figures(read_start(lines[0], f"process {self._pid}"))
        for line in lines[1:-1]:
            if line is not None:
                self._figures.add(line)

    def summary(self) -> Summary:
        """Sum up what was heard so far."""
        assert self._figures is not None  # `refresh` has raised otherwise.
        return self._figures.build(_seconds_since(self._figures.start))

    def close(self) -> None:
        """Nothing is kept open."""


def _seconds_since(start: Start) -> float | None:
    return max(time.time() - start.time_seconds, 0.0) if start.time_seconds else None
