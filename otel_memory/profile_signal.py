# SPDX-License-Identifier: Apache-2.0
"""A signal that has a heap profile written: for a process that nobody can change.

The signal's handler writes one byte into a pipe, and no more; a daemon thread reads
it, writes the profile and says in one line where it is. Python runs handlers on the
main thread, so a main thread that is deep in native code delays the profile.

Which signal: a real-time one, such as SIGRTMIN+3. gunicorn's workers set SIGUSR1 and
SIGUSR2 anew after they are forked, whoever had a handler there: SIGUSR1 reopens their
logs, and SIGUSR2 then ends the worker. To gunicorn's master SIGUSR2 means to start
over. Celery and uWSGI have uses of their own for both. Nobody touches the real-time
ones, so there the handler that was set in the master goes on in every worker, each
with a pipe and a thread of its own. A process without a handler, one that has not come
so far or is no Python, is ended by any of these signals.

An application's own handler is left alone, and one that it sets later takes our
place. Only Python's main thread may set handlers; where `instrument()` is called
elsewhere a warning says that nothing is set.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from contextlib import suppress
from types import FrameType

from otel_memory import _guard
from otel_memory._settings import SIGNALS
from otel_memory.config import OTEL_PYTHON_MEMORY_PROFILE_SIGNAL
from otel_memory.snapshot import write_heap_profile
from otel_memory.units import format_bytes

PAUSE_SECONDS = 1.0
"""After a profile; all signals that come meanwhile ask for one more."""
# At an exit: a profile that is being written is finished, but not for ever.
_JOIN_SECONDS = 5.0

_logger = logging.getLogger("otel_memory")


class _Pipe:
    """A pipe whose descriptors are its own.

    Daemons close every descriptor they find, and the numbers may by now belong to
    files of the application: so it is looked at before each use.
    """

    def __init__(self) -> None:
        self._ends = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        self._status = os.fstat(self._ends[0])
        self._is_open = True

    def _is_ours(self, end: int) -> bool:
        # Both ends are one inode.
        return self._is_open and os.path.samestat(os.fstat(end), self._status)

    def write(self) -> None:
        """Write one byte, unless that cannot be. Runs in a signal's handler."""
        try:
            if self._is_ours(self._ends[1]):
                os.write(self._ends[1], b"\0")
        except OSError:  # It is full, which will do, or somebody has closed it.
            pass

    def wait(self) -> bool:
        """Wait for a byte, and take all there are; False where none can come."""
        # Looked up now: gevent replaces it with one that lets other greenlets run.
        poll = select.poll()
        try:
            poll.register(self._ends[0], select.POLLIN)
            poll.poll()
            return self._is_ours(self._ends[0]) and bool(os.read(self._ends[0], 65536))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close both ends."""
        for end in self._ends:
            with suppress(OSError):
                if self._is_ours(end):
                    os.close(end)
        self._is_open = False


class ProfileSignal:
    """Writes a heap profile when a signal comes. One per `instrument()`.

    Args:
        name: Of the signal, a key of `SIGNALS`.
        directory: Where profiles shall go; None means the default.
    """

    def __init__(self, name: str, directory: str | None) -> None:
        self._name = name
        self._number = SIGNALS[name]
        self._directory = directory
        self._is_set = False
        self._ended, self._is_idle = threading.Event(), threading.Event()
        self._pipe: _Pipe | None = None
        self._thread: threading.Thread | None = None

    @_guard.guard("profile signal: start")
    def start(self) -> None:
        """Set the handler and start the thread, here and in children forked later."""
        if self._directory is not None and not os.path.isdir(self._directory):
            self._warn(f"there is no directory {self._directory} to write profiles to")
        if _is_taken(self._number):
            self._warn("the signal has another handler already, which stays")
            return
        self._start_thread()
        try:
            signal.signal(self._number, self._handle)
        except ValueError:
            self._end_thread()
            self._warn(
                "only the main thread can set a handler, and instrument() was called "
                "elsewhere; without one the signal ends the process"
            )
            return
        self._is_set = True
        os.register_at_fork(after_in_child=self._start_in_child)

    def _warn(self, problem: str) -> None:
        variable = OTEL_PYTHON_MEMORY_PROFILE_SIGNAL
        _logger.warning("%s=%s: %s", variable, self._name, problem)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Runs between any two instructions of the application: no lock, no log.
        pipe = self._pipe
        if pipe is not None:
            pipe.write()

    def _start_thread(self) -> None:
        # New ones: the locks of those that a child inherits may be held.
        self._ended, self._is_idle = threading.Event(), threading.Event()
        self._is_idle.set()
        self._pipe = _Pipe()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._pipe, self._ended, self._is_idle),
            name="otel-memory-profile-signal",
            daemon=True,
        )
        self._thread.start()

    @_guard.guard("profile signal: after fork")
    def _start_in_child(self) -> None:
        inherited, self._pipe = self._pipe, None
        if inherited is not None:
            inherited.close()
        if self._is_set and not self._ended.is_set():
            self._start_thread()

    def _run(
        self, pipe: _Pipe, ended: threading.Event, is_idle: threading.Event
    ) -> None:
        while pipe.wait() and not ended.is_set():
            is_idle.clear()
            self._write_profile()
            is_idle.set()
            ended.wait(PAUSE_SECONDS)
        pipe.close()
        if not ended.is_set():
            self._warn("somebody has closed our pipe; no more profiles are written")

    @_guard.guard("profile signal: write")
    def _write_profile(self) -> None:
        try:
            path = write_heap_profile()
            size = format_bytes(path.stat().st_size)
        except (OSError, RuntimeError) as error:
            # The answer to who sent the signal, each time.
            _logger.warning("%s: no heap profile was written: %s", self._name, error)
            return
        _logger.warning(
            "%s: wrote a heap profile of %s; look at it with: otel-memory report %s",
            self._name,
            size,
            path,
        )

    def finish(self) -> None:
        """Wait for a profile that is being written.

        The handler stays, so that a signal in the process's last moments does not end
        it. So does the thread: where gevent has patched `threading` since it started,
        its end would be noisy.
        """
        if self._is_set:
            self._is_idle.wait(_JOIN_SECONDS)

    def _end_thread(self) -> None:
        self._ended.set()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.write()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def close(self) -> None:
        """Put the default back, if nobody has taken our place, and end the thread."""
        # ValueError: not on the main thread; the handler stays, and does nothing.
        with suppress(ValueError):
            if self._is_set and signal.getsignal(self._number) == self._handle:
                signal.signal(self._number, signal.SIG_DFL)
        self._is_set = False
        self._end_thread()


def _is_taken(number: int) -> bool:
    """Tell whether a signal is handled or ignored, by Python or by native code."""
    if signal.getsignal(number) is not signal.SIG_DFL:
        return True
    # faulthandler and embedding servers set handlers that Python knows nothing of.
    with suppress(OSError, ValueError), open("/proc/self/status") as status:
        for line in status:
            field, _, mask = line.partition(":")
            if field in ("SigCgt", "SigIgn") and int(mask, 16) >> (number - 1) & 1:
                return True
    return False
