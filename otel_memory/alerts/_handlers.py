# SPDX-License-Identifier: Apache-2.0
"""The user's handlers of alerts, called in a thread of their own.

What they do is theirs: one that raises is named in the log, once, and one that never
returns keeps later alerts from being handled and harms nobody else. The thread starts
with the first alert, and the process never waits for it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

from otel_memory import _guard

QUEUE_MAX = 16

_logger = logging.getLogger("otel_memory")


class Handlers:
    """Calls each handler with each alert, one after the other.

    Args:
        handlers: Functions, or their names as `module:qualified.name`, which are
            looked up when the first alert is there: importing them earlier could
            come before the application is ready for it.
    """

    def __init__(self, handlers: Sequence[str | Callable[..., object]]) -> None:
        self._handlers = tuple(handlers)
        self.reset()

    def reset(self) -> None:
        """Begin anew in a forked child, where the thread is not."""
        self._waiting: queue.Queue[Any] = queue.Queue(QUEUE_MAX)
        self._has_thread = False
        self._dropped = 0
        self._failed: set[str] = set()

    def hand_over(self, alert: object) -> None:
        """Have the handlers called, soon, or not at all where they are stuck."""
        if not self._handlers:
            return
        try:
            self._waiting.put_nowait(alert)
        except queue.Full:
            self._dropped += 1
            if self._dropped == 1:
                _logger.error(
                    "alert handlers have not returned for %d alerts; what comes "
                    "meanwhile is not handed to them",
                    QUEUE_MAX,
                )
            return
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(
                target=self._run,
                args=(self._waiting,),
                name="otel-memory-alerts",
                daemon=True,
            ).start()

    def _run(self, waiting: queue.Queue[Any]) -> None:
        with _guard.guard("alert handlers"):
            functions = [found for h in self._handlers if (found := self._resolve(h))]
            while True:
                alert = waiting.get()
                for name, function in functions:
                    self._call(name, function, alert)

    def _resolve(
        self, handler: str | Callable[..., object]
    ) -> tuple[str, Callable[..., object]] | None:
        if callable(handler):
            return getattr(handler, "__qualname__", repr(handler)), handler
        module, _, qualname = handler.partition(":")
        try:
            function = attrgetter(qualname.strip())(import_module(module.strip()))
        except BaseException as error:  # noqa: BLE001 - the user's module may do anything
            self._report(handler, error)
            return None
        return handler, function

    def _call(self, name: str, function: Callable[..., object], alert: Any) -> None:
        try:
            function(alert)
        except BaseException as error:  # noqa: BLE001 - sys.exit() too, for it is theirs
            self._report(name, error)

    def _report(self, name: str, error: BaseException) -> None:
        if name not in self._failed:
            self._failed.add(name)
            _logger.error(
                "the alert handler %s failed; further failures of it are not logged",
                name,
                exc_info=error,
            )
