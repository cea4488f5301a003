# SPDX-License-Identifier: Apache-2.0
"""The live table at the bottom of the terminal while a command runs.

The command keeps the terminal itself: its output is neither copied nor held back,
and it still sees a terminal. So the table must not scroll along: it lies below the
terminal's scrolling region, as a package manager's progress bar does, and is drawn
with the cursor saved and restored.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType

from otel_memory.cli.console import open_console
from otel_memory.cli.tables import (
    ROW_COLUMNS,
    STATE_TITLES,
    duration,
    make_table,
    rate,
    size,
)
from otel_memory.recording.summary import (
    ENDED_CLEAN,
    Summary,
    add_known,
    largest_known,
)

_HEIGHT = 8
_ROWS_MAX = _HEIGHT - 3
_TERMINAL_ROWS_MIN = 24
_TERMINAL_COLUMNS_MIN = 60
_REDRAW_SECONDS = 1.0

# Parts of the title, in the order in which they make room; of "rss" the limit.
_SPARED = ("name", "processes", "elapsed", "rss")

_SAVE = "\x1b7"
_RESTORE = "\x1b8"
_RESET_REGION = "\x1b[r"
_CLEAR_LINE = "\x1b[2K"
_CLEAR_BELOW = "\x1b[J"


class LiveTable:
    """Shows the state of a run in the last lines of a terminal.

    Use on one thread.

    Args:
        terminal: The terminal's descriptor.
        summary: Gives the run's state.
    """

    def __init__(self, terminal: int, summary: Callable[[], Summary]) -> None:
        self._terminal = terminal
        self._summary = summary
        self._started_seconds = time.monotonic()
        self._drawn_seconds = 0.0
        self._size: os.terminal_size | None = None

    def __enter__(self) -> LiveTable:
        self._reserve()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def tick(self) -> None:
        """Draw, if it is time; cheap otherwise."""
        now_seconds = time.monotonic()
        if now_seconds - self._drawn_seconds < _REDRAW_SECONDS:
            return
        self._drawn_seconds = now_seconds
        if self._size != self._terminal_size():
            self._release()
            self._reserve()
        if self._size:
            self._draw(self._size, now_seconds - self._started_seconds)

    def _terminal_size(self) -> os.terminal_size | None:
        with suppress(OSError):
            found = os.get_terminal_size(self._terminal)
            is_tall = found.lines >= _TERMINAL_ROWS_MIN
            if is_tall and found.columns >= _TERMINAL_COLUMNS_MIN:
                return found
        return None

    def _reserve(self) -> None:
        """Leave the last lines to us, the cursor being above them."""
        self._size = self._terminal_size()
        if self._size:
            scrolling = self._size.lines - _HEIGHT
            make_room = "\n" * _HEIGHT + f"\x1b[{_HEIGHT}A"
            region = f"\x1b[1;{scrolling}r"
            # Setting the region moves the cursor home.
            self._write(f"{make_room}{_SAVE}{region}{_RESTORE}")

    def _release(self) -> None:
        if self._size:
            first = self._size.lines - _HEIGHT + 1
            clear = f"\x1b[{first};1H{_CLEAR_BELOW}"
            self._write(f"{_SAVE}{_RESET_REGION}{clear}{_RESTORE}")
            self._size = None

    def _draw(self, terminal: os.terminal_size, elapsed_seconds: float) -> None:
        first = terminal.lines - _HEIGHT + 1
        lines = _lines(self._summary(), terminal.columns - 1, elapsed_seconds)
        lines += [""] * (_HEIGHT - len(lines))
        drawn = "".join(
            f"\x1b[{first + index};1H{_CLEAR_LINE}{line}"
            for index, line in enumerate(lines[:_HEIGHT])
        )
        self._write(f"{_SAVE}\x1b[0m{drawn}{_RESTORE}")

    def _write(self, text: str) -> None:
        # In one call, so that the command's own output does not fall into it.
        with suppress(OSError):  # The terminal may have gone.
            os.write(self._terminal, text.encode())


def _lines(summary: Summary, width: int, elapsed_seconds: float) -> list[str]:
    text = io.StringIO()
    console = open_console(text, width=width)
    if summary.spans:
        console.print(make_table(ROW_COLUMNS, summary.spans[:_ROWS_MAX], width))
    else:
        console.print("  No span yet.")
    title = _title(summary, width, elapsed_seconds)
    return [f"──{title}".ljust(width, "─")[:width], *text.getvalue().splitlines()]


def _title(summary: Summary, width: int, elapsed_seconds: float) -> str:
    """Write as much as there is room for, the verdict being the last to go."""
    processes = len(summary.processes)
    # What has ended holds nothing; what was killed cannot be told from what runs.
    running = [each for each in summary.processes if each.ended != ENDED_CLEAN]
    rss = size(add_known(process.rss_end_bytes for process in running))
    limit_bytes = largest_known(process.limit_bytes for process in running)
    limit = "" if limit_bytes is None else f" of {size(limit_bytes)}"
    verdict = summary.verdict
    parts = {
        "name": "otel-memory",
        "elapsed": duration(elapsed_seconds),
        "processes": f"{processes} process{'' if processes == 1 else 'es'}",
        "rss": f"RSS {rss}{limit}",
        "growth": rate(verdict.growth_bytes_per_hour),
        "state": STATE_TITLES.get(verdict.state, verdict.state).lower(),
    }
    title = _joined(parts)
    for part in _SPARED:
        if len(title) + len("──") <= width:
            break
        parts[part] = f"RSS {rss}" if part == "rss" else ""
        title = _joined(parts)
    return title


def _joined(parts: Mapping[str, str]) -> str:
    return f" {'  '.join(filter(None, parts.values()))} "
