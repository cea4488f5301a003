# SPDX-License-Identifier: Apache-2.0
"""Read the command line and hand over to a subcommand.

Bad input never shows a traceback: one line on standard error, and an exit code.
"""

from __future__ import annotations

import argparse
import inspect
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Protocol

from otel_memory.cli.doctor import DoctorCommand
from otel_memory.cli.report import ReportCommand
from otel_memory.cli.run import RunCommand
from otel_memory.cli.top import TopCommand
from otel_memory.errors import CommandError


class _Command(Protocol):
    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


_COMMANDS: dict[str, type[_Command]] = {
    "run": RunCommand,
    "report": ReportCommand,
    "top": TopCommand,
    "doctor": DoctorCommand,
}
_DISTRIBUTION = "otel-memory"
_INTERRUPTED = 130
_SEPARATOR = "--"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: The words after the program's name; by default those of the process.

    Returns:
        What the process should exit with.
    """
    _accept_any_text()
    words = list(sys.argv[1:] if argv is None else argv)
    # Everything after the first "--" is another program's; argparse would look at
    # it, each version of Python in its own way.
    if _SEPARATOR in words:
        cut = words.index(_SEPARATOR)
        words, command = words[:cut], words[cut + 1 :]
    else:
        command = []
    arguments = _parser().parse_args(words)
    if command:
        if not hasattr(arguments, "command"):
            return _fail(arguments.name, f"unexpected: {' '.join(command)!r}")
        arguments.command = [*arguments.command, *command]
    try:
        return _COMMANDS[arguments.name]().run(arguments)
    except CommandError as error:
        return _fail(arguments.name, error.message, error.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, such as `head`. Python would complain
        # once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _accept_any_text() -> None:
    """Print names that the terminal's encoding lacks, with a "?" in their place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _fail(name: str, message: str, exit_code: int = 2) -> int:
    line = " ".join(message.split())
    print(f"otel-memory: {name}: {line}", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-memory",
        description="Which operation of a Python service holds the memory.",
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        description = inspect.getdoc(command) or ""
        summary = description.partition("\n")[0].rstrip(".")
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
    return parser


def _version() -> str:
    try:
        return f"otel-memory {metadata.version(_DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return "otel-memory (not installed)"
