# SPDX-License-Identifier: Apache-2.0
"""`otel-memory top`: who holds the memory of what runs now."""

from __future__ import annotations

import argparse
import io
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from otel_memory.cli.console import open_console, require
from otel_memory.cli.run import parse_duration
from otel_memory.cli.top_sources import ProcessSource, RecordingSource, Source
from otel_memory.cli.top_view import SORTS, Choice, print_view

if TYPE_CHECKING:
    from rich.console import Console

_INTERVAL_SECONDS = 2.0
_ANSWER_SECONDS_MAX = 5.0
_LONGEST_SECONDS = 86_400.0  # or the kernel refuses to wait
_QUIT_KEYS = frozenset("qQ\x03\x04")
_END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class TopCommand:
    """Show who holds the memory of what runs now.

    Of a process that was started with OTEL_PYTHON_MEMORY_TOP=true, or of a recording
    that `otel-memory run --record` is writing. In a terminal the tables are drawn
    anew until q or Ctrl-C, elsewhere they are printed once.

      otel-memory top 4711
      otel-memory top run.jsonl --sort growth
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument(
            "target", metavar="PID-or-RECORDING", help="a process id, or a file"
        )
        parser.add_argument(
            "--interval",
            type=_time,
            metavar="TIME",
            default=_INTERVAL_SECONDS,
            help="time between two looks (default: 2s)",
        )
        parser.add_argument(
            "--timeout",
            type=_time,
            metavar="TIME",
            default=_ANSWER_SECONDS_MAX,
            help="how long to wait for a process's answer (default: 5s)",
        )
        parser.add_argument(
            "--once", action="store_true", help="print the tables once, and end"
        )
        parser.add_argument(
            "--sort",
            choices=tuple(SORTS),
            default="live",
            help="what spans are sorted by (default: live)",
        )
        parser.add_argument(
            "--rows",
            type=_count,
            metavar="N",
            help="rows of a table (default: as many as fit)",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Show the tables until the user or the process has enough."""
        require("rich")
        with closing(_open(arguments.target, arguments.timeout)) as source:
            return _show(source, arguments)


def _show(source: Source, arguments: argparse.Namespace) -> int:
    choice = Choice(arguments.sort, arguments.rows)
    source.refresh()
    console = open_console()
    is_screen = console.is_terminal and not console.is_dumb_terminal
    try:
        if is_screen and not arguments.once and source.last_words is None:
            _watch(source, choice, arguments.interval)
            if source.last_words is None:
                return 0
    except KeyboardInterrupt:
        return 0
    print_view(console, source, choice)
    if source.last_words is not None:
        console.print(f"{source.last_words} These are its last figures.")
    return 0


def _open(target: str, timeout_seconds: float) -> Source:
    if target.isascii() and target.isdigit():
        return ProcessSource(int(target), timeout_seconds)
    return RecordingSource(Path(target))


def _time(text: str) -> float:
    return min(parse_duration(text), _LONGEST_SECONDS)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _watch(source: Source, choice: Choice, interval_seconds: float) -> None:
    """Fill the terminal until the user quits, or nothing more will come."""
    from rich.live import Live  # noqa: PLC0415 - only the extra `cli` brings it
    from rich.text import Text  # noqa: PLC0415

    console = open_console()
    with ExitStack() as stack:
        stack.enter_context(_ending_by_signals())
        wait = stack.enter_context(_keys())
        live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        stack.enter_context(live)
        while source.last_words is None:
            console.size = width, height = _terminal_size(console)
            text = io.StringIO()
            drawing = open_console(text, width=width)
            print_view(drawing, source, choice, height)
            live.update(Text(text.getvalue(), no_wrap=True), refresh=True)
            if wait(interval_seconds):
                return
            source.refresh()


def _terminal_size(console: Console) -> tuple[int, int]:
    """Ask the terminal itself.

    LINES and COLUMNS, which the console prefers, may be another terminal's: whatever
    uses readline leaves them to its children, with 24 lines where it has none.
    """
    with suppress(OSError):
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        if columns and lines:
            return columns, lines
    return console.size


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let signals that end us end us by way of what restores the terminal."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Read keys without Return and without showing them.

    Gives a function that waits for some seconds, and tells whether the user quits.
    """

    def wait_only(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    if not sys.stdin.isatty():
        yield wait_only
        return
    keyboard = sys.stdin.fileno()

    def wait(seconds: float) -> bool:
        deadline_seconds = time.monotonic() + seconds
        while (left_seconds := deadline_seconds - time.monotonic()) > 0:
            if select.select([keyboard], [], [], left_seconds)[0]:
                pressed = os.read(keyboard, 1024).decode("latin-1")
                if not pressed or _QUIT_KEYS.intersection(pressed):
                    return True
        return False

    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield wait
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
