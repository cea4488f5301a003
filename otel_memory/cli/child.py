# SPDX-License-Identifier: Apache-2.0
"""Start the command of `otel-memory run`, pass signals on, wait for its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from types import FrameType

from otel_memory.errors import CommandError

_INSTRUMENT = "opentelemetry-instrument"
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
# The terminal sends these to every process of its foreground group.
_KEYBOARD_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
_FORWARDED_SIGNALS = (
    *_KEYBOARD_SIGNALS,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    # One of them may ask for a heap profile; each of them would end us.
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
# The gentle one first: Python runs its exit handlers then, and reports its end.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def instrumented(command: Sequence[str]) -> list[str]:
    """Put `opentelemetry-instrument` before a command.

    Raises:
        CommandError: There is no command, it does not exist, or what is needed to
            instrument it is not installed.
    """
    if not command:
        raise CommandError("no command; write: otel-memory run -- python app.py")
    _check_exists(command[0])
    if os.path.basename(command[0]) == _INSTRUMENT:
        return list(command)
    launcher = shutil.which(
        _INSTRUMENT, path=os.path.dirname(sys.executable)
    ) or shutil.which(_INSTRUMENT)
    if launcher is None:
        raise CommandError(f"{_INSTRUMENT} not found; pip install opentelemetry-distro")
    if not metadata.entry_points(group="opentelemetry_configurator"):
        # It would start the command, and silently set nothing up.
        raise CommandError(
            "no OpenTelemetry distro is installed; pip install opentelemetry-distro"
        )
    return [launcher, *command]


def _check_exists(program: str) -> None:
    if shutil.which(program):
        return
    if os.path.isfile(program) and program.endswith(".py"):
        raise CommandError(f"{program!r} is no command; write: python {program}")
    raise CommandError(f"no such command: {program!r}")


def _signal_code(number: int) -> int:
    """Give the exit code that shells, and programs themselves, have for a signal."""
    return 128 + number


class Child:
    """The command while it runs; signals that we get are passed on to it.

    Use on the main thread: only it may set signal handlers.
    """

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early_signals: list[int] = []
        self._handlers = {
            number: signal.signal(number, self._forward)
            for number in _FORWARDED_SIGNALS
            # What is ignored, as by nohup, stays so, in the child too.
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            self._process = subprocess.Popen(list(arguments), env=dict(environ))
        except OSError as error:
            self._restore_handlers()
            raise CommandError(f"cannot start: {error.strerror}") from None
        for number in self._early_signals:
            self._send(number)

    def wait(
        self, tick: Callable[[], None], duration_seconds: float | None = None
    ) -> int:
        """Wait for the end.

        Args:
            tick: Called a few times a second.
            duration_seconds: After this time the command is asked to end, ever more
                firmly.

        Returns:
            The exit code of the command, as a shell would give it; 0 where it ended
            by what it was asked with after `duration_seconds`, as it should.
        """
        assert self._process is not None
        stop_signals = list(_STOP_SIGNALS)
        asked_codes: set[int] = set()
        deadline = time.monotonic() + (
            float("inf") if duration_seconds is None else duration_seconds
        )
        try:
            while True:
                try:
                    code = self._process.wait(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    tick()
                else:
                    code = code if code >= 0 else _signal_code(-code)
                    return 0 if code in asked_codes else code
                if stop_signals and time.monotonic() >= deadline:
                    number = stop_signals.pop(0)
                    self._send(number)
                    # What had to be killed did not end as it should.
                    if number != signal.SIGKILL:
                        asked_codes.add(_signal_code(number))
                    deadline = time.monotonic() + _GRACE_SECONDS
        finally:
            self._restore_handlers()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early_signals.append(number)
        elif number not in _KEYBOARD_SIGNALS or not _in_foreground():
            self._send(number)
        # Else the terminal has sent it to the command too, and many programs take a
        # second one for "at once".

    def _send(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Tell whether the terminal's keyboard signals reach our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
