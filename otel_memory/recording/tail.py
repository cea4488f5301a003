# SPDX-License-Identifier: Apache-2.0
"""Follow a recording while it is written.

Each line is read once, when it is complete: what the writer has not finished is left
for the next time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otel_memory.errors import CommandError
from otel_memory.recording.file import (
    EVENT_ENDED,
    RecordingReader,
    events_of,
    parse_line,
)
from otel_memory.recording.otlp import Json


class RecordingTail:
    """The lines of a recording that come in.

    Attributes:
        start: What is run.
        end: The last line's attributes, once it was read, or None.

    Raises:
        CommandError: The file cannot be read or is no recording of ours.
    """

    def __init__(self, path: Path) -> None:
        self.start = RecordingReader(path).start
        self.end: dict[str, Any] | None = None
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}") from None
        self._status = os.fstat(self._file.fileno())
        self._file.readline()
        self._number = 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def lines(self) -> Iterator[Json]:
        """Give the lines that were completed since the last time.

        Raises:
            CommandError: A line is broken.
        """
        while self.end is None:
            position = self._file.tell()
            raw = self._file.readline()
            if not raw.endswith(b"\n"):
                self._file.seek(position)
                return
            self._number += 1
            line = parse_line(raw)
            if line is None:
                raise CommandError(f"{self._path}, line {self._number}: not OTLP JSON")
            end = next(events_of(line, EVENT_ENDED), None)
            if end is None:
                yield line
            else:
                self.end = end.attributes

    def is_removed(self) -> bool:
        """Tell whether there is no file of this name any more."""
        return not self._path.exists()

    def is_replaced(self) -> bool:
        """Tell whether the file of this name is another one, or was begun anew."""
        try:
            status = self._path.stat()
        except OSError:
            return False
        is_other = not os.path.samestat(status, self._status)
        return is_other or status.st_size < self._file.tell()
