# SPDX-License-Identifier: Apache-2.0
"""The recording file: OTLP JSON lines between a line of ours at either end.

Everything that reads the Collector's file exporter reads it; the first line, a log
event, tells that it is a recording of ours and of which schema.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from otel_memory.errors import CommandError
from otel_memory.recording.otlp import (
    Event,
    Json,
    dicts,
    events,
    read_attributes,
    resources,
    signal_of,
    write_attributes,
    write_value,
)
from otel_memory.recording.redact import redact_command, redact_resource
from otel_memory.semconv import SCOPE_NAME

SCHEMA = 1
EVENT_STARTED = "otel_memory.recording.started"
EVENT_ENDED = "otel_memory.recording.ended"
ATTR_SCHEMA = "otel_memory.recording.schema"
ATTR_COMMAND = "otel_memory.recording.command"
ATTR_DIRECTORY = "otel_memory.recording.directory"
ATTR_EXIT_CODE = "otel_memory.recording.exit_code"
ATTR_DURATION = "otel_memory.recording.duration"
ATTR_NOTES = "otel_memory.recording.notes"

_SEVERITY_INFO = 9
# Far more than a first line of ours, which holds one command line, can have.
_FIRST_LINE_BYTES_MAX = 4 * 1024**2


@dataclass(frozen=True)
class Start:
    """What the first line of a recording says.

    Attributes:
        command: The command that was run, without its secrets.
        directory: Where it was run.
        time_seconds: When, in seconds since the epoch.
    """

    command: tuple[str, ...]
    directory: str
    time_seconds: float


class RecordingWriter:
    """Writes a recording that only its owner can read.

    Not for several threads at once. Errors of the disk reach the caller as
    `OSError`; only opening raises `CommandError`.

    Args:
        file: Where to write: the path of a new file, or an open one.
        start: What was run.
        force: Replace a file that is there.
    """

    def __init__(
        self, file: Path | IO[str], start: Start, *, force: bool = False
    ) -> None:
        self.written_bytes = 0
        self._start = start
        if isinstance(file, Path):
            file = open_private(file, force=force)
        self._file = file
        self._write_event(
            EVENT_STARTED,
            start.time_seconds,
            {
                ATTR_SCHEMA: SCHEMA,
                ATTR_COMMAND: redact_command(start.command),
                ATTR_DIRECTORY: start.directory,
            },
        )

    def write(self, line: Json) -> None:
        """Write one line of OTLP JSON."""
        for part in resources(line):
            resource = part.get("resource", {})
            attributes = read_attributes(resource)
            redacted = redact_resource(attributes)
            if redacted != attributes:
                resource["attributes"] = write_attributes(redacted)
        text = json.dumps(line, separators=(",", ":")) + "\n"
        self._file.write(text)
        self.written_bytes += len(text)

    def close(self, exit_code: int | None, notes: Sequence[str] = ()) -> None:
        """Write the last line and close the file."""
        now_seconds = time.time()
        attributes: dict[str, Any] = {
            ATTR_DURATION: max(now_seconds - self._start.time_seconds, 0.0),
            ATTR_NOTES: list(notes),
        }
        if exit_code is not None:
            attributes[ATTR_EXIT_CODE] = exit_code
        try:
            self._write_event(EVENT_ENDED, now_seconds, attributes)
        finally:
            self._file.close()

    def _write_event(
        self, name: str, time_seconds: float, attributes: Mapping[str, Any]
    ) -> None:
        record = {
            "timeUnixNano": str(int(time_seconds * 1e9)),
            "severityNumber": _SEVERITY_INFO,
            "body": write_value(f"otel-memory: {name.rpartition('.')[2]}"),
            "attributes": write_attributes(attributes),
            "eventName": name,
        }
        resource = {"attributes": write_attributes({"service.name": "otel-memory"})}
        scope = {"scope": {"name": SCOPE_NAME}, "logRecords": [record]}
        self.write({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def open_private(path: Path, *, force: bool) -> IO[str]:
    """Open a new text file that only its owner can read.

    Raises:
        CommandError: There is a file and no `force`, or it cannot be written.
    """
    try:
        if force and stat.S_ISREG(os.lstat(path).st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CommandError(f"cannot replace {path}: {error.strerror}") from None
    try:
        return create_private(path)
    except FileExistsError:
        advice = "it is no regular file" if force else "--force overwrites it"
        raise CommandError(f"{path} exists; {advice}") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def create_private(path: Path) -> IO[str]:
    """Create a text file that only its owner can read.

    Raises:
        OSError: There is a file, or it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    # By the line, so that little is lost when we are killed.
    return open(os.open(path, flags, 0o600), "w", encoding="utf-8", buffering=1)


class RecordingReader:
    """Reads a recording, line by line.

    Attributes:
        start: What was run.
        end: The last line's attributes, once `lines` has come there, or None.
        notes: What is wrong with the file, though it can be read.

    Raises:
        CommandError: The file cannot be read or is no recording of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.end: dict[str, Any] | None = None
        self.notes: list[str] = []
        try:
            if not path.is_file() and path.exists():
                raise CommandError(f"{path} is not a file")
            with path.open("rb") as file:
                first = file.readline(_FIRST_LINE_BYTES_MAX)
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}") from None
        if not first:
            raise CommandError(f"{path} is empty")
        self.start = read_start(parse_line(first), path)

    def lines(self) -> Iterator[Json]:
        """Give the lines between the first and the last.

        Raises:
            CommandError: A line is broken that is not the last.
        """
        with self._path.open("rb") as file:
            file.readline()
            broken: int | None = None
            for number, raw in enumerate(file, start=2):
                if broken is not None:
                    raise CommandError(f"{self._path}, line {broken}: not OTLP JSON")
                line = parse_line(raw)
                if line is None:
                    broken = number
                    continue
                end = next(events_of(line, EVENT_ENDED), None)
                if end is not None:
                    self.end = end.attributes
                    self.notes += [
                        str(n) for n in _list(end.attributes.get(ATTR_NOTES))
                    ]
                else:
                    yield line
        if broken is not None:
            self.notes.append("The last line of the recording is cut and was left out.")
        if self.end is None:
            self.notes.append("The recording has no end: it was cut, or still runs.")


def read_start(line: Json | None, name: object) -> Start:
    """Read the first line of a recording.

    Args:
        line: The line; None where it is no OTLP JSON.
        name: What it was read from, for the message.

    Raises:
        CommandError: It is not one of ours.
    """
    event = next(events_of(line, EVENT_STARTED), None)
    schema = event.attributes.get(ATTR_SCHEMA) if event else None
    if event is None or not isinstance(schema, int):
        raise CommandError(f"{name} is not a recording of otel-memory")
    if schema != SCHEMA:
        raise CommandError(
            f"{name} has schema {schema}, and this otel-memory reads {SCHEMA}"
        )
    command = _list(event.attributes.get(ATTR_COMMAND))
    return Start(
        tuple(str(word) for word in command if word is not None),
        str(event.attributes.get(ATTR_DIRECTORY) or ""),
        event.time_seconds or 0.0,
    )


def parse_line(raw: bytes) -> Json | None:
    """Parse one line; None where it is no OTLP JSON."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or signal_of(line) is None:
        return None
    return line


def events_of(line: Json | None, name: str) -> Iterator[Event]:
    """Give the log events of one name that a line holds."""
    if line is not None and any(dicts(line, "resourceLogs")):
        yield from (event for event in events(line) if event.name == name)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
