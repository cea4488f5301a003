# SPDX-License-Identifier: Apache-2.0
"""One daemon thread per process, which forks and the end of the process get over well.

It is started anew in a forked child. What it does may hang, for it calls exporters and
log handlers: the application waits for it a part of a second at a fork and some
seconds at its end, and never otherwise.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

from otel_memory import _guard

_FORK_SECONDS = 0.5
_LAST_SECONDS = 5.0


class Background(ABC):
    """A thread that does something again and again, until it is stopped.

    Args:
        name: The thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended = threading.Event()
        self._does_last = False
        self._thread: threading.Thread | None = None
        # Held wherever our thread is in OpenTelemetry: a fork meanwhile would leave
        # the child with locks of the SDK that nobody is there to release.
        self.in_telemetry = threading.RLock()
        self._holds_at_fork = False

    @abstractmethod
    def wait_seconds(self) -> float:
        """Tell how long there is nothing to do."""

    @abstractmethod
    def tick(self) -> None:
        """Do what is due."""

    @abstractmethod
    def do_last(self) -> None:
        """Do what would be lost otherwise; at the end of the process."""

    @abstractmethod
    def begin_in_child(self) -> None:
        """Begin anew in a forked child, before the thread does."""

    def start(self) -> None:
        """Start the thread, here and in children that are forked later."""
        _follow_forks()
        _started.add(self)
        self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        with _guard.guard(f"{self._name}: start"):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        ended = self._ended
        while not ended.wait(self.wait_seconds()):
            if ended is not self._ended:
                # A greenlet that a child inherits, which has one of its own. It waits
                # for ever: gevent prints a traceback where an inherited one ends.
                threading.Event().wait()
            self.tick()
        if self._does_last:
            self.do_last()

    def stop(self, *, final: bool) -> None:
        """End the thread; with `final`, it does the last things first."""
        if self._ended.is_set():
            return
        self._does_last = final
        self._ended.set()
        _started.discard(self)
        if not final:
            return
        if self._thread is None:
            self.do_last()
        elif self._thread is not threading.current_thread():
            self._thread.join(_LAST_SECONDS)

    def before_fork(self) -> None:
        """Wait for what the thread does in OpenTelemetry."""
        self._holds_at_fork = self.in_telemetry.acquire(timeout=_FORK_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._holds_at_fork:
            self._holds_at_fork = False
            self.in_telemetry.release()

    def after_fork_in_child(self) -> None:
        """Begin anew, with a thread of the child's own."""
        # New ones: the locks of those that a child inherits may be held.
        self.in_telemetry, self._holds_at_fork = threading.RLock(), False
        self._ended, self._thread = threading.Event(), None
        with _guard.guard(f"{self._name}: after fork"):
            self.begin_in_child()
            self._start_thread()


# Those that run; under the GIL. A hook at forks is for good, so there is one for all.
_started: weakref.WeakSet[Background] = weakref.WeakSet()
_follows_forks = False


def _follow_forks() -> None:
    global _follows_forks
    if _follows_forks:
        return
    _follows_forks = True

    def each(do: Callable[[Background], None]) -> Callable[[], None]:
        def do_each() -> None:
            for background in list(_started):
                do(background)

        return do_each

    os.register_at_fork(
        before=each(Background.before_fork),
        after_in_parent=each(Background.after_fork_in_parent),
        after_in_child=each(Background.after_fork_in_child),
    )
