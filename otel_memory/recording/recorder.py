# SPDX-License-Identifier: Apache-2.0
"""Decides what of the stream of requests goes into the recording.

Processes report every second, with cumulative figures: for hours of that, each
report says again what the one before said. So the longer a run, the fewer are kept;
the newest of each process is held back and written when its time comes, when the
process ends and at the end of the run. Nothing that the summary says is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from otel_memory.recording.file import RecordingWriter
from otel_memory.recording.otlp import Json, events, pid_of, resources
from otel_memory.semconv import ATTR_PROFILE_FINAL, EVENT_HEAP_PROFILE

_SPACING_SECONDS_MIN = 1.0
_SPACING_SECONDS_MAX = 10.0
_SPACING_PER_SECOND = 1 / 60
# Reports come a little early or late; none shall be left out for that.
_TOLERANCE_SECONDS = 0.3
_SPANS_BYTES_MAX = 256 * 1024**2

_Key = tuple[str, int | None]


@dataclass
class _Held:
    line: Json
    since_seconds: float


class Recorder:
    """Takes requests from the receiver's threads and writes the recording.

    A disk that is full does not stop the run: the recorder says so in `notes`.

    Args:
        writer: The recording.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self, writer: RecordingWriter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._started_seconds = clock()
        self._lock = threading.Lock()  # Protects all below.
        self._written_seconds: dict[_Key, float] = {}
        self._held: dict[_Key, _Held] = {}
        self._spans_bytes = 0
        self._closed = False
        self._failure: str | None = None

    def record(self, signal: str, line: Json) -> None:
        """Take one request; may be called on any thread."""
        with self._lock:
            if self._closed or self._failure:
                return
            try:
                self._take(signal, line)
            except OSError as error:
                self._failure = error.strerror or str(error)

    def close(self, exit_code: int | None) -> list[str]:
        """Write what is held back and the last line.

        Returns:
            What the user should know of the recording, in sentences.
        """
        with self._lock:
            self._closed = True
            notes = self._notes()
            try:
                if not self._failure:
                    self._write_held(float("inf"))
                self._writer.close(exit_code, notes)
            except OSError as error:
                self._failure = error.strerror or str(error)
            return self._notes()

    def _notes(self) -> list[str]:
        notes = []
        if self._spans_bytes > _SPANS_BYTES_MAX:
            notes.append("The recording holds the run's first 256 MiB of spans only.")
        if self._failure:
            notes.append(f"The recording is incomplete: {self._failure}.")
        return notes

    def _take(self, signal: str, line: Json) -> None:
        now_seconds = self._clock()
        self._write_held(now_seconds - _SPACING_SECONDS_MAX)
        if signal == "traces":
            self._take_spans(line)
            return
        pid = next((pid_of(part) for part in resources(line)), None)
        key = (signal, pid)
        happened = list(events(line)) if signal == "logs" else []
        profiles = [event for event in happened if event.name == EVENT_HEAP_PROFILE]
        if signal == "logs" and not profiles:
            self._writer.write(line)  # An event that happens once, such as an alert.
            return
        final = any(event.attributes.get(ATTR_PROFILE_FINAL) for event in profiles)
        # One that happens once may come in one batch with a profile.
        is_once = final or len(happened) > len(profiles)
        if is_once or self._is_due(key, now_seconds):
            self._write(key, line, now_seconds)
        else:
            self._held[key] = _Held(line, now_seconds)

    def _take_spans(self, line: Json) -> None:
        if self._spans_bytes <= _SPANS_BYTES_MAX:
            before_bytes = self._writer.written_bytes
            self._writer.write(line)
            self._spans_bytes += self._writer.written_bytes - before_bytes

    def _is_due(self, key: _Key, now_seconds: float) -> bool:
        last_seconds = self._written_seconds.get(key)
        if last_seconds is None:
            return True
        age_seconds = now_seconds - self._started_seconds
        spacing_seconds = min(
            max(age_seconds * _SPACING_PER_SECOND, _SPACING_SECONDS_MIN),
            _SPACING_SECONDS_MAX,
        )
        return now_seconds - last_seconds >= spacing_seconds - _TOLERANCE_SECONDS

    def _write_held(self, until_seconds: float) -> None:
        """Write what has been held since before; such a process is gone, or slow."""
        overdue = [
            key
            for key, held in self._held.items()
            if held.since_seconds < until_seconds
        ]
        for key in overdue:
            self._write(key, self._held[key].line, self._held[key].since_seconds)

    def _write(self, key: _Key, line: Json, now_seconds: float) -> None:
        self._held.pop(key, None)
        self._written_seconds[key] = now_seconds
        self._writer.write(line)
