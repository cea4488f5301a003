# SPDX-License-Identifier: Apache-2.0
"""The background thread: looks after the heap source, and sends heap profiles.

One daemon thread per process. It is started anew in a forked child, and never where
there is nothing to do.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger

from otel_memory import _guard, profile, semconv
from otel_memory.config import OTEL_PYTHON_MEMORY_HEAP, MemoryConfig
from otel_memory.heap import HeapSource

_STACKS_MAX = 200

_logger = logging.getLogger("otel_memory")


class Watcher:
    """Ticks until it is stopped.

    Args:
        source: The heap source to look after.
        config: The settings.
        logger_provider: Where profiles go; None means the global one.
        version: Of the instrumentation scope.
    """

    def __init__(
        self,
        source: HeapSource,
        config: MemoryConfig,
        logger_provider: LoggerProvider | None,
        version: str,
    ) -> None:
        self._source = source
        self._interval_seconds = config.interval_seconds
        self._profile_interval_seconds = config.profile_interval_seconds
        self._events = get_logger(
            semconv.SCOPE_NAME, version, logger_provider=logger_provider
        )
        self._said_lost = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, here and in children that are forked later."""
        os.register_at_fork(after_in_child=self._start_thread)
        self._start_thread()

    def _start_thread(self) -> None:
        if self._ended.is_set():
            return
        self._ended = threading.Event()  # the inherited one's lock may be held
        self._thread = threading.Thread(
            target=self._run, name="otel-memory-watcher", daemon=True
        )
        with _guard.guard("watcher: start"):
            self._thread.start()

    def _run(self) -> None:
        ended = self._ended
        waits = [self._interval_seconds]
        if self._profile_interval_seconds > 0:
            waits.append(self._profile_interval_seconds)
        due = {wait: time.monotonic() + wait for wait in waits}
        while not ended.wait(max(0.0, min(due.values()) - time.monotonic())):
            now = time.monotonic()
            if due[self._interval_seconds] <= now:
                due[self._interval_seconds] = now + self._interval_seconds
                with _guard.guard("watcher: check"):
                    self.check()
            profile_due = due.get(self._profile_interval_seconds)
            if self._profile_interval_seconds > 0 and (profile_due or 0) <= now:
                due[self._profile_interval_seconds] = (
                    now + self._profile_interval_seconds
                )
                with _guard.guard("watcher: profile"):
                    self.send_profile(final=False)

    def check(self) -> None:
        """Look after the source; say once that it is lost."""
        self._source.check()
        if self._source.name == semconv.SOURCE_LOST and not self._said_lost:
            self._said_lost = True
            _logger.warning(
                "heap figures stop here (%s): %s",
                OTEL_PYTHON_MEMORY_HEAP,
                self._source.reason,
            )

    def send_profile(self, *, final: bool) -> None:
        """Send the live heap by span name and stack as a log event."""
        stacks_max = profile.STACKS_MAX if final else _STACKS_MAX
        body = profile.take(self._source, stacks_max)
        attributes: dict[str, Any] = {semconv.ATTR_PROFILE_FINAL: final}
        self._events.emit(
            event_name=semconv.EVENT_HEAP_PROFILE,
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            body=body,
            attributes=attributes,
        )

    def stop(self, *, final: bool) -> None:
        """End the thread; with `final`, send the last profile first."""
        already = self._ended.is_set()
        self._ended.set()
        if final and not already and self._profile_interval_seconds > 0:
            with _guard.guard("watcher: final profile"):
                self.send_profile(final=True)
