# SPDX-License-Identifier: Apache-2.0
"""`otel-memory run`: run a command and say which of its operations hold memory."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from otel_memory.cli.child import Child, instrumented
from otel_memory.cli.console import open_console, require
from otel_memory.cli.environment import child_environment
from otel_memory.cli.hints import why_nothing_arrived
from otel_memory.cli.live import LiveTable
from otel_memory.cli.outputs import HTML, JSON, Outputs
from otel_memory.cli.printing import print_summary
from otel_memory.cli.tables import printable
from otel_memory.cli.verdict import add_fail_on, judged_exit_code
from otel_memory.errors import CommandError
from otel_memory.recording.details import Details, read_details
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.fold import ASSESS_LIVE_SECONDS, SummaryBuilder
from otel_memory.recording.otlp import Json
from otel_memory.recording.receiver import Receiver
from otel_memory.recording.recorder import Recorder
from otel_memory.recording.redact import redact_command
from otel_memory.recording.summary import Summary

_PROFILE_INTERVAL_SECONDS = 2.0
_SECONDS_BY_UNIT = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<unit>[a-z]*)")


class RunCommand:
    """Run a command and say which of its spans hold memory.

    The command is started under opentelemetry-instrument, and needs no collector or
    other backend: it reports to otel-memory itself. Exporters that are configured
    stay. The exit code is the command's; 0 if --duration ended it and it obeyed; and
    3 with --fail-on, if nothing else was wrong.

      otel-memory run -- python app.py
      otel-memory run --record run.jsonl --duration 4h -- gunicorn shop:app
      otel-memory run --duration 4h --fail-on leaking -- python app.py
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.usage = "otel-memory run [options] -- COMMAND [ARGUMENT ...]"
        parser.add_argument(
            "--record", type=Path, metavar="FILE", help="keep the recording in FILE"
        )
        parser.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            help="write the figures as JSON",
        )
        parser.add_argument(
            "--report",
            type=Path,
            metavar="FILE",
            help="write a page with charts, tables and a flame graph",
        )
        parser.add_argument(
            "--force", action="store_true", help="overwrite files that exist"
        )
        parser.add_argument(
            "--duration",
            type=parse_duration,
            metavar="TIME",
            help="interrupt the command after TIME, such as 90s, 30m or 4h",
        )
        add_fail_on(parser, "the command's exit code")
        parser.add_argument(
            "--interval",
            type=parse_duration,
            metavar="TIME",
            default=_PROFILE_INTERVAL_SECONDS,
            help="time between two profiles of the live heap (default: 2s)",
        )
        parser.add_argument(
            "--no-live",
            action="store_true",
            help="show no live table, even in a terminal",
        )
        parser.add_argument(
            "command",
            nargs=argparse.REMAINDER,
            metavar="COMMAND",
            help="what to run",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command, then print the summary to standard error."""
        require("rich")
        launched = instrumented(arguments.command)
        with ExitStack() as stack:
            # Before anything runs for hours, to find that its result has no place.
            wanted = {JSON: arguments.json, HTML: arguments.report}
            outputs = Outputs(
                stack, wanted, recording=arguments.record, force=arguments.force
            )
            path = arguments.record or _temporary_path(stack)
            start = Start(
                tuple(redact_command(arguments.command)), os.getcwd(), time.time()
            )
            session = _Session(
                start, RecordingWriter(path, start, force=arguments.force)
            )
            exit_code = session.run(launched, arguments)
            details = read_details(path)
            lines = _write(outputs, details)
        if arguments.record:
            lines.append(f"Recording: {arguments.record}")
        with suppress(BrokenPipeError):  # Nobody reads it; the exit code stays.
            _report(details.summary, arguments, lines)
        return judged_exit_code("run", exit_code, details.summary, arguments.fail_on)


def _write(outputs: Outputs, details: Details) -> list[str]:
    try:
        return outputs.write(details)
    # The summary must still be shown, for a run of hours may not come again.
    except CommandError as error:
        return [f"Error: {error.message}"]
    except Exception as error:  # noqa: BLE001 - and the exit code is the command's
        return [f"Error: a file could not be written: {error!r}"]


def _report(
    summary: Summary, arguments: argparse.Namespace, lines: Sequence[str]
) -> None:
    # To standard error: standard output is the command's.
    sys.stdout.flush()
    console = open_console(sys.stderr)
    console.print()
    # Without a recording there is nothing for `report` to read.
    whole = "report --json" if arguments.record else "run --json FILE"
    print_summary(console, summary, whole=whole)
    if not summary.processes:
        for hint in why_nothing_arrived(os.environ, arguments.command):
            console.print(f"Hint: {hint}")
    for line in lines:
        console.print(printable(line), soft_wrap=True)


class _Session:
    """One run: the receiver, the recording and the live table around a command."""

    def __init__(self, start: Start, writer: RecordingWriter) -> None:
        self._start = start
        self._recorder = Recorder(writer)
        self._builder = SummaryBuilder(start, assess_every_seconds=ASSESS_LIVE_SECONDS)
        # Receives on many threads, is summed up on the main one.
        self._builder_lock = threading.Lock()
        self._is_live = False

    def run(self, launched: list[str], arguments: argparse.Namespace) -> int:
        exit_code: int | None = None
        self._is_live = sys.stdout.isatty() and not arguments.no_live
        try:
            with Receiver(self._take) as receiver, ExitStack() as stack:
                environ = child_environment(
                    os.environ,
                    arguments.command,
                    endpoint=receiver.endpoint,
                    token=receiver.token,
                    profile_interval_seconds=arguments.interval,
                )
                tick = self._tick(stack)
                exit_code = Child(launched, environ).wait(tick, arguments.duration)
        finally:
            self._recorder.close(exit_code)
        return exit_code

    def _tick(self, stack: ExitStack) -> Callable[[], None]:
        if not self._is_live:
            return lambda: None
        table = LiveTable(sys.stdout.fileno(), self._summary)
        return stack.enter_context(table).tick

    def _take(self, signal: str, line: Json) -> None:
        if self._is_live:
            with self._builder_lock:
                self._builder.add(line)
        self._recorder.record(signal, line)

    def _summary(self) -> Summary:
        with self._builder_lock:
            return self._builder.build(None)


def _temporary_path(stack: ExitStack) -> Path:
    try:
        directory = tempfile.TemporaryDirectory(prefix="otel-memory-")
    except OSError as error:
        raise CommandError(f"no place for a recording: {error.strerror}") from None
    return Path(stack.enter_context(directory), "recording.jsonl")


def parse_duration(text: str) -> float:
    """Read a time such as "90s", "30m", "4h" or "10"; seconds without a unit.

    Raises:
        argparse.ArgumentTypeError: The text is not such a time.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    factor = _SECONDS_BY_UNIT.get(match["unit"] or "s") if match else None
    if match is None or factor is None or float(match["number"]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s or 4h")
    return float(match["number"]) * factor
