# SPDX-License-Identifier: Apache-2.0
"""A heap profile of the running process, written at the moment when it is asked for.

The file is a small recording, of the same form as those of `otel-memory run`:
`otel-memory report FILE` reads it. It is made beside everything else: no exporter, no
lock and no state is shared with what goes on meanwhile, so it may be asked for at any
time and in any thread, by several at once, and in a forked child. It comes into being
as a whole or not at all, and takes the place of no other file.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from io import StringIO
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

from opentelemetry import trace
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
    set_value,
)
from opentelemetry.metrics import Observation

from otel_memory import _guard, metrics, profile, semconv
from otel_memory.config import OTEL_PYTHON_MEMORY_HEAP, OTEL_PYTHON_MEMORY_SAMPLING
from otel_memory.heap import Pair
from otel_memory.heap._admission import Admission
from otel_memory.metrics import Readout
from otel_memory.recording.file import RecordingWriter, Start, create_private
from otel_memory.recording.otlp import Json, stamp_pid, write_attributes, write_value
from otel_memory.semconv import Kind, Metric

NAMES_MAX = 2000
"""Span names with rows of their own; the rest of an explosion is one row."""

_SEVERITY_INFO = 9
_CUMULATIVE = 2
_DATA_BY_KIND: dict[Kind, tuple[str, Json]] = {
    Kind.OBSERVABLE_COUNTER: (
        "sum",
        {"aggregationTemporality": _CUMULATIVE, "isMonotonic": True},
    ),
    Kind.OBSERVABLE_UP_DOWN_COUNTER: (
        "sum",
        {"aggregationTemporality": _CUMULATIVE, "isMonotonic": False},
    ),
    Kind.OBSERVABLE_GAUGE: ("gauge", {}),
}
# What file systems without hard links answer.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


def write_heap_profile(path: str | os.PathLike[str] | None = None) -> Path:
    """Write a heap profile of this process to a file that only its owner can read.

    May be called from any thread, inside a span or not; the work is charged to
    (telemetry). It takes some tens of milliseconds, and Python's lock for most of
    them. `otel-memory report FILE` shows what is in the file.

    Args:
        path: Where to; nothing is replaced there. Without it a new file
            `otel-memory-PID-TIME.jsonl` is made, in the configured directory or in
            the system's for temporary files.

    Returns:
        The absolute path of the file.

    Raises:
        RuntimeError: There are no heap figures, for the reason that it says.
        FileExistsError: There is something at `path`.
        OSError: The file cannot be written; no part of it is left.
    """
    # A context of its own is given up as a whole: nothing needs to be undone.
    return copy_context().run(_write_in_own_context, path)


def heap_profile() -> bytes:
    """Give the lines that `write_heap_profile` writes, without a file.

    Also where there are no heap figures: they still tell why, and of the process.

    Raises:
        RuntimeError: Nothing is instrumented.
    """
    return copy_context().run(_make_in_own_context)


def _make_in_own_context() -> bytes:
    attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, Context()))
    file = _Text()
    _write_recording(file, _readout())
    return file.text.encode()


class _Text(StringIO):
    """A file in memory, whose text outlives its closing."""

    text = ""

    def close(self) -> None:
        """Keep the text."""
        if not self.closed:
            self.text = self.getvalue()
        super().close()


def _write_in_own_context(path: str | os.PathLike[str] | None) -> Path:
    # No span, and suppressed: so is what exporters do, and charged to (telemetry).
    attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, Context()))
    readout = _readout()
    _require_figures(readout)
    if path is None:
        return _write_new(readout, _default_paths(readout.config.profile_directory))
    return _write_new(readout, iter([Path(os.path.abspath(path))]))


def _readout() -> Readout:
    readout = metrics.current()
    if readout is None:
        raise RuntimeError(
            "no heap profile: MemoryInstrumentor().instrument() has not been called"
        )
    readout.source.check()
    return readout


def _require_figures(readout: Readout) -> None:
    source = readout.source
    if source.name in (semconv.SOURCE_OFF, semconv.SOURCE_LOST):
        reason = source.reason or f"{OTEL_PYTHON_MEMORY_HEAP} is {source.name}"
        raise RuntimeError(f"no heap profile: {reason}")


def _default_paths(directory: str | None) -> Iterator[Path]:
    if directory is None:
        from tempfile import gettempdir  # noqa: PLC0415 - heavy, and rarely needed

        directory = gettempdir()
    moment = time.strftime("%Y%m%dT%H%M%S")
    stem = os.path.abspath(os.path.join(directory, f"otel-memory-{os.getpid()}"))
    further = (f"-{number}" for number in count(2))
    return (Path(f"{stem}-{moment}{n}.jsonl") for n in chain([""], further))


def _write_new(readout: Readout, paths: Iterator[Path]) -> Path:
    """Write under a name that nobody looks for, then give the file its own."""
    path = next(paths)
    part = path.parent / f".otel-memory-{os.urandom(8).hex()}.part"
    try:
        file = create_private(part)
        try:
            with file:
                _write_recording(file, readout)
            return _place(part, chain([path], paths))
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except FileExistsError:
        raise
    except OSError as error:
        # Of the file that was asked for; the other name says nothing to anybody.
        raise OSError(error.errno, error.strerror, str(path)) from None


def _place(part: Path, paths: Iterator[Path]) -> Path:
    """Give a file the first of these names that is free."""
    for path in paths:
        try:
            _rename_to_free(part, path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _rename_to_free(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        create_private(path).close()  # so it is ours to replace
        try:
            os.replace(part, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _write_recording(file: IO[str], readout: Readout) -> None:
    now_seconds = time.time()
    uptime_seconds = readout.readings.uptime_seconds() or 0.0
    try:
        directory = os.getcwd()
    except OSError:  # It was removed.
        directory = ""
    start = Start(tuple(sys.orig_argv), directory, now_seconds - uptime_seconds)
    writer = RecordingWriter(file, start)
    pairs = readout.source.pairs()
    for line in (
        _metrics_line(readout, pairs, now_seconds),
        _profile_line(readout, pairs, now_seconds),
    ):
        stamp_pid(line, os.getpid())
        writer.write(line)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now_seconds))
    notes = [f"This is process {os.getpid()} at {moment}; it went on after that."]
    if readout.source.name == semconv.SOURCE_NATIVE and not readout.config.sampling:
        notes.append(f"Live bytes are unknown: {OTEL_PYTHON_MEMORY_SAMPLING}=false.")
    writer.close(None, notes)


def _metrics_line(readout: Readout, pairs: list[Pair], now_seconds: float) -> Json:
    # An admission of its own: the instruments' remembers whom it has admitted.
    rows, _ = Admission(NAMES_MAX).admit(pairs)
    shown = [
        _metric(metric, observations, now_seconds)
        for metric, observations in metrics.observe_all(readout, rows)
        if observations
    ]
    scope = {"scope": {"name": semconv.SCOPE_NAME}, "metrics": shown}
    return {"resourceMetrics": [{"resource": _resource(), "scopeMetrics": [scope]}]}


def _metric(
    metric: Metric, observations: list[Observation], now_seconds: float
) -> Json:
    key, data = _DATA_BY_KIND[metric.kind]
    points = [
        {
            "attributes": write_attributes(observation.attributes or {}),
            "timeUnixNano": _nanoseconds(now_seconds),
            **_number(observation.value),
        }
        for observation in observations
    ]
    named = {"name": metric.name, "unit": metric.unit}
    return {**named, key: {**data, "dataPoints": points}}


def _number(value: int | float) -> Json:
    return {"asDouble": value} if isinstance(value, float) else {"asInt": str(value)}


def _profile_line(readout: Readout, pairs: list[Pair], now_seconds: float) -> Json:
    attributes = {
        semconv.ATTR_PROFILE_FINAL: False,
        semconv.ATTR_PROFILE_ON_DEMAND: True,
    }
    record = {
        "timeUnixNano": _nanoseconds(now_seconds),
        "severityNumber": _SEVERITY_INFO,
        "body": write_value(profile.take(readout.source, pairs=pairs)),
        "attributes": write_attributes(attributes),
        "eventName": semconv.EVENT_HEAP_PROFILE,
    }
    scope = {"scope": {"name": semconv.SCOPE_NAME}, "logRecords": [record]}
    return {"resourceLogs": [{"resource": _resource(), "scopeLogs": [scope]}]}


def _nanoseconds(time_seconds: float) -> str:
    return str(int(time_seconds * 1e9))


def _resource() -> Json:
    """Tell what the spans of this process tell of it; nothing without an SDK."""
    return {"attributes": _guard.call("snapshot: resource", _describe, default=[])}


def _describe() -> list[Any]:
    resource = getattr(trace.get_tracer_provider(), "resource", None)
    return [] if resource is None else write_attributes(dict(resource.attributes))
