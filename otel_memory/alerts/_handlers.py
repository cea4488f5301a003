# SPDX-License-Identifier: Apache-2.0
"""The user's handlers of alerts, called in a thread of their own.

What they do is theirs: one that raises is named in the log, once, and one that never
returns keeps later alerts from being handled and harms nobody else. The thread starts
with the first alert, and nobody ever waits for it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import Any

from otel_memory import _guard

QUEUE_MAX = 16

_END = object()

_logger = logging.getLogger("otel_memory")


def _name_of(handler: Callable[..., object]) -> str:
    """Write a function as it could be configured; an object by its class."""
    named: Any = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}:{named.__qualname__}"


class Handlers:
    """Calls each handler with each alert, one after the other.

    Args:
        handlers: Functions, or their names as `module:qualified.name`, which are
            looked up when the first alert is there: importing them earlier could
            come before the application is ready for it.
    """

    def __init__(self, handlers: Sequence[str | Callable[..., object]]) -> None:
        self._handlers = tuple(handlers)
        self._closed = False
        self.reset()

    def reset(self) -> None:
        """Begin anew in a forked child, where the thread is not."""
        self._waiting: queue.Queue[Any] = queue.Queue(QUEUE_MAX)
        self._has_thread = False
        self._dropped = 0
        self._failed: set[int] = set()

    def close(self) -> None:
        """Take no more alerts, and end the thread after those that wait."""
        self._closed = True
        # Where there is no room for it, the thread looks when nothing waits any more.
        with suppress(queue.Full):
            self._waiting.put_nowait(_END)

    def hand_over(self, alert: object) -> None:
        """Have the handlers called, soon, or not at all where they are stuck."""
        if not self._handlers or self._closed:
            return
        try:
            self._waiting.put_nowait(alert)
        except queue.Full:
            self._drop()
        # What waits is handled then, too, where there was no thread to be had before.
        if not self._has_thread:
            self._start_thread()

    def _drop(self) -> None:
        self._dropped += 1
        if self._has_thread and self._dropped == 1:
            _logger.error(
                "alert handlers have not returned for %d alerts; what comes "
                "meanwhile is not handed to them",
                QUEUE_MAX,
            )

    def _start_thread(self) -> None:
        threading.Thread(
            target=self._run,
            args=(self._waiting,),
            name="otel-memory-alerts",
            daemon=True,
        ).start()
        self._has_thread = True

    def _run(self, waiting: queue.Queue[Any]) -> None:
        with _guard.guard("alert handlers"):
            resolved = [
                (number, name, function)
                for number, handler in enumerate(self._handlers, 1)
                for name, function in self._resolve(number, handler)
            ]
            while (alert := waiting.get()) is not _END:
                for number, name, function in resolved:
                    self._call(number, name, function, alert)
                if self._closed and waiting.empty():
                    return

    def _resolve(
        self, number: int, handler: str | Callable[..., object]
    ) -> list[tuple[str, Callable[..., object]]]:
        if callable(handler):
            return [(_name_of(handler), handler)]
        module, _, qualname = handler.partition(":")
        try:
            function = attrgetter(qualname.strip())(import_module(module.strip()))
        except BaseException as error:  # noqa: BLE001 - the user's module may do anything
            self._report(number, handler, error)
            return []
        return [(handler, function)]

    def _call(
        self, number: int, name: str, function: Callable[..., object], alert: Any
    ) -> None:
        try:
            function(alert)
        except BaseException as error:  # noqa: BLE001 - sys.exit() too, for it is theirs
            self._report(number, name, error)

    # The application's log may raise, which is no reason to handle no more alerts.
    @_guard.guard("alert handlers: report")
    def _report(self, number: int, name: str, error: BaseException) -> None:
        # By its place: two methods of one name are two handlers.
        if number not in self._failed:
            self._failed.add(number)
            _logger.error(
                "the alert handler %s (number %d) failed; further failures of it are "
                "not logged",
                name,
                number,
                exc_info=error,
            )
