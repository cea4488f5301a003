# SPDX-License-Identifier: Apache-2.0
"""Files that are made of a recording, beside or in place of the tables.

They are only their owner's to read, never replace another one unasked, and are
opened before anything long begins. One that cannot be finished is removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, TextIO, cast

from otel_memory.cli.console import require
from otel_memory.cli.page import render
from otel_memory.errors import CommandError
from otel_memory.recording.details import Details
from otel_memory.recording.file import open_private
from otel_memory.recording.otlp_profiles import load_stubs, write_otlp_profiles
from otel_memory.recording.pprof import write_pprof

_BINARY_SUFFIX = ".pb"
_SERVICE_NAME = "service.name"


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
        title: What it is called where it is said to be written.
        write: Writes it.
        check: Raises `CommandError` if something that is needed is not installed.
    """

    title: str
    write: Callable[[Details, Path, IO[str]], None]
    check: Callable[[], object] = lambda: None


def _write_json(details: Details, path: Path, file: IO[str]) -> None:
    json.dump(details.summary.to_dict(), file, indent=2)
    file.write("\n")


def _write_html(details: Details, path: Path, file: IO[str]) -> None:
    file.write(render(details))


def _write_pprof(details: Details, path: Path, file: IO[str]) -> None:
    write_pprof(
        details.profiles,
        cast(TextIO, file).buffer,
        start_seconds=details.start_seconds,
        duration_seconds=details.summary.duration_seconds,
    )


def _write_otlp_profiles(details: Details, path: Path, file: IO[str]) -> None:
    name = details.service_name
    write_otlp_profiles(
        details.profiles,
        cast(TextIO, file).buffer,
        start_seconds=details.start_seconds,
        duration_seconds=details.summary.duration_seconds,
        resource={_SERVICE_NAME: name} if name else None,
        as_json=path.suffix != _BINARY_SUFFIX,
    )


JSON = Kind("Figures", _write_json)
HTML = Kind("Report", _write_html, lambda: require("jinja2", "plotly"))
PPROF = Kind("pprof profile", _write_pprof)
OTLP_PROFILES = Kind("OTLP profiles", _write_otlp_profiles, load_stubs)


class Outputs:
    """The files that were asked for, open and empty.

    Args:
        stack: Closes them; those that were not written are removed.
        wanted: The path of each kind, or None.
        recording: What they are made of, which none may replace.
        force: Replace files that are there.

    Raises:
        CommandError: One cannot be written, or would need what is not installed.
    """

    def __init__(
        self,
        stack: ExitStack,
        wanted: Mapping[Kind, Path | None],
        *,
        recording: Path | None,
        force: bool,
    ) -> None:
        asked = {kind: path for kind, path in wanted.items() if path}
        _require_distinct([*asked.values(), *([recording] if recording else [])])
        for kind in asked:
            kind.check()
        self._files = [
            (kind, path, stack.enter_context(_opened(path, force=force)))
            for kind, path in asked.items()
        ]

    def write(self, details: Details) -> list[str]:
        """Write all of them.

        Returns:
            A line for each, that says where it is.

        Raises:
            CommandError: One cannot be written.
        """
        for kind, path, opened in self._files:
            try:
                kind.write(details, path, opened.file)
                opened.file.flush()
            except OSError as error:
                raise CommandError(f"cannot write {path}: {error.strerror}") from None
            opened.is_written = True
        return [f"{kind.title}: {path}" for kind, path, _ in self._files]


def _require_distinct(paths: Sequence[Path]) -> None:
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise CommandError(f"{path} is named twice; each file needs its own name")
        seen.add(real)


class _Opened:
    """A file, and whether it is whole."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.is_written = False
        self._status = os.fstat(file.fileno())

    def is_at(self, path: Path) -> bool:
        """Tell whether the file is still the one of that name."""
        try:
            return os.path.samestat(self._status, path.lstat())
        except OSError:
            return False


@contextmanager
def _opened(path: Path, *, force: bool) -> Iterator[_Opened]:
    opened = _Opened(open_private(path, force=force))
    try:
        yield opened
    finally:
        # What could not be written cannot be flushed either.
        with suppress(OSError):
            opened.file.close()
        if not opened.is_written and opened.is_at(path):
            path.unlink(missing_ok=True)
