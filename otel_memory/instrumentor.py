# SPDX-License-Identifier: Apache-2.0
"""The entry point of `opentelemetry-instrument`: wiring and unwiring only."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Collection
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import get_logger
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_memory import _guard, metrics, rss_spans, semconv, spans
from otel_memory.alerts import Alerts, Handlers, MemoryAlert
from otel_memory.config import (
    OTEL_PYTHON_MEMORY_HEAP,
    MemoryConfig,
    MemoryOptions,
    sdk_is_disabled,
)
from otel_memory.configured import ConfiguredFunctions
from otel_memory.findings import Findings
from otel_memory.heap import HeapSource, open_source
from otel_memory.process import open_readings
from otel_memory.span_filter import SpanFilter
from otel_memory.watcher import Watcher

if TYPE_CHECKING:
    from otel_memory.profile_signal import ProfileSignal
    from otel_memory.top_socket import TopSocket

_logger = logging.getLogger("otel_memory")
_PROVIDERS = ("tracer_provider", "meter_provider", "logger_provider")


def _version() -> str:
    try:
        return version("otel-memory")
    except PackageNotFoundError:
        return ""


def _is_in_sub_interpreter(source: HeapSource) -> bool:
    return "interpreter" in (source.reason or "")


def _open_source(config: MemoryConfig) -> HeapSource:
    source = open_source(config.heap, sampling=config.sampling)
    if source.name == semconv.SOURCE_NATIVE:
        reason = spans.why_not_attributable()
        if reason is not None:
            source.close()
            source = open_source(semconv.SOURCE_OFF)
            source.reason = reason  # type: ignore[misc]
    # The environment's sitecustomize runs in sub-interpreters too: not a word there.
    if source.reason is not None and not _is_in_sub_interpreter(source):
        _logger.warning(
            "no heap figures (%s=%s): %s; spans carry RSS only",
            OTEL_PYTHON_MEMORY_HEAP,
            config.heap,
            source.reason,
        )
    return source


class _Wiring:
    """What one `instrument()` set up, and `uninstrument()` takes down.

    What fails to be set up takes down again what was before it.
    """

    def __init__(self, config: MemoryConfig, providers: dict[str, Any]) -> None:
        # Each step's undoing; allocator hooks stay in, counting for nobody.
        with ExitStack() as undo:
            self._set_up(config, providers, undo)
            self._undo = undo.pop_all()

    def _set_up(
        self, config: MemoryConfig, providers: dict[str, Any], undo: ExitStack
    ) -> None:
        self.source = _open_source(config)
        undo.callback(self.source.close)
        native = self.source.name == semconv.SOURCE_NATIVE
        has_filter = config.included_spans or config.excluded_spans or config.span_kinds
        self.span_filter: SpanFilter | None = (
            config.span_filter() if has_filter else None
        )
        undo.callback(spans.uninstall)
        spans.install(
            native=native,
            span_filter=self.span_filter,
            top_sites_threshold_bytes=config.top_sites_threshold_bytes,
        )
        self.functions = ConfiguredFunctions(config.function_targets())
        undo.callback(self.functions.close)
        self.functions.start()
        findings = Findings()
        undo.callback(metrics.stop)
        metrics.start(
            metrics.Readout(self.source, config, findings),
            providers.get("meter_provider"),
            _version(),
        )
        events = get_logger(
            semconv.SCOPE_NAME,
            _version(),
            logger_provider=providers.get("logger_provider"),
        )
        self.alerts = Alerts(events, findings, Handlers(config.alert_handlers))
        undo.callback(self.alerts.close)
        self.watcher = Watcher(
            self.source,
            config,
            readings=open_readings(),
            findings=findings,
            alerts=self.alerts,
            events=events,
            completed=self.source.completed if native else rss_spans.completed_count,
            record_entries=metrics.record_entries,
        )
        undo.callback(self.watcher.stop, final=False)
        # A sub-interpreter that ends with a daemon thread of its own takes the whole
        # process down, and one with its own GIL refuses to start one.
        if not _is_in_sub_interpreter(self.source):
            self.watcher.start()
        self.profile_signal = self._start_profile_signal(config)
        if self.profile_signal is not None:
            undo.callback(self.profile_signal.close)
        self.top_socket = self._start_top_socket(config)
        if self.top_socket is not None:
            undo.callback(self.top_socket.close)

    def _start_profile_signal(self, config: MemoryConfig) -> ProfileSignal | None:
        if config.profile_signal is None or _is_in_sub_interpreter(self.source):
            return None
        # Only where it is wanted: it writes recordings, and brings their modules.
        from otel_memory.profile_signal import ProfileSignal  # noqa: PLC0415

        profile_signal = ProfileSignal(config.profile_signal, config.profile_directory)
        profile_signal.start()
        return profile_signal

    def _start_top_socket(self, config: MemoryConfig) -> TopSocket | None:
        if not config.top or _is_in_sub_interpreter(self.source):
            return None
        from otel_memory.top_socket import TopSocket  # noqa: PLC0415 - the same

        top_socket = TopSocket()
        top_socket.start()
        return top_socket

    def close(self) -> None:
        """Take everything down, the rest also where one step fails."""
        self._undo.close()

    @_guard.guard("instrumentor: at exit")
    def at_exit(self) -> None:
        """Send the last profile, and say what was configured for nothing."""
        if self.top_socket is not None:
            self.top_socket.finish()
        if self.profile_signal is not None:
            self.profile_signal.finish()
        self.watcher.stop(final=True)
        self.functions.warn_of_unseen()
        for glob in self.span_filter.unmatched() if self.span_filter else ():
            _logger.warning("%s matched no span name", glob)


_wiring: _Wiring | None = None


def _at_exit() -> None:
    if _wiring is not None:
        _wiring.at_exit()


class MemoryInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Measure what spans allocate, free and hold.

    `instrument()` takes the fields of `MemoryConfig`, and `meter_provider` and
    `logger_provider`. A wrong argument raises `ValueError`; a wrong environment
    variable warns and falls back.
    """

    # No __init__: BaseInstrumentor is a singleton whose __init__ runs at every call.

    configuration = MemoryOptions

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing: always active."""
        return ()

    def recent_alerts(self) -> tuple[MemoryAlert, ...]:
        """Give the last hundred alerts of this process, the oldest first."""
        return () if _wiring is None else _wiring.alerts.recent()

    def _instrument(self, **kwargs: Any) -> None:
        if sdk_is_disabled():
            return
        providers = {name: kwargs.pop(name, None) for name in _PROVIDERS}
        config = MemoryConfig.from_environment(**kwargs)
        # An exception from here would stop every instrumentor that comes later.
        with _guard.guard("instrumentor: instrument"):
            _start(config, providers)

    def _uninstrument(self, **kwargs: Any) -> None:
        global _wiring
        wiring, _wiring = _wiring, None
        if wiring is not None:
            atexit.unregister(_at_exit)
            with _guard.guard("instrumentor: uninstrument"):
                wiring.close()


def _start(config: MemoryConfig, providers: dict[str, Any]) -> None:
    global _wiring
    _wiring = _Wiring(config, providers)
    # After the providers were made, so it runs before they shut down.
    atexit.register(_at_exit)
