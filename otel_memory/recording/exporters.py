# SPDX-License-Identifier: Apache-2.0
"""The exporters that `otel-memory run` puts into the instrumented process.

They send to the run's receiver, and nothing that goes wrong there may be noticed:
no log record, no exception, no retry, no wait longer than a moment. Without a
receiver they do nothing.

They encode with OpenTelemetry's own encoders but are no subclasses of its OTLP/HTTP
exporters: those import `requests` (7 MiB more in the process whose memory we
measure), obey the user's `OTEL_EXPORTER_OTLP_*` (whose headers are secrets and whose
endpoint is elsewhere), retry with back-off and log each failure.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.metrics import MetricsTimeoutError
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_memory import config
from otel_memory.semconv import SCOPE_NAME

_INTERVAL_MILLIS = 1000
_COLLECT_MILLIS = 10_000
_TIMEOUT_SECONDS = 2.0
# After a receiver that hangs (one that is gone refuses at once, which costs nothing).
_SILENCE_SECONDS = 5.0
_FORK_WAIT_SECONDS = 1.0
_PID_HEADER = "otel-memory-pid"
_EVENT_PREFIX = f"{SCOPE_NAME}."


class _Link:
    """The way to the run's receiver; may be used on any thread and after a fork."""

    def __init__(self, path: str) -> None:
        receiver = config.receiver()
        self._endpoint = receiver.endpoint if receiver else ""
        self._token = receiver.token if receiver else ""
        self._path = path

    def send(self, encode: Callable[[], Any]) -> bool:
        """Encode and send one request; False if it did not arrive."""
        global _silent_until_seconds
        if not self._endpoint or time.monotonic() < _silent_until_seconds:
            return False
        try:
            return self._post(encode().SerializeToString())
        except TimeoutError:
            _silent_until_seconds = time.monotonic() + _SILENCE_SECONDS
            return False
        except Exception:  # noqa: BLE001 - never disturb the application
            return False

    def _post(self, body: bytes) -> bool:
        # No proxy and no redirect is followed here, whatever the environment says.
        # A connection each: one kept open would be shared with forked children.
        address = urlsplit(self._endpoint).netloc
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
        try:
            headers = {
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/x-protobuf",
                # A resource may still tell of the parent after a fork.
                _PID_HEADER: str(os.getpid()),
            }
            connection.request("POST", self._path, body, headers)
            return connection.getresponse().status == http.client.OK
        finally:
            connection.close()


# A clock reading, written and read without a lock: a race costs one request.
_silent_until_seconds = 0.0


class TraceExporter(SpanExporter):
    """Sends spans to the run's receiver."""

    def __init__(self) -> None:
        self._link = _Link("/v1/traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called on the processor's thread."""
        sent = self._link.send(lambda: encode_spans(spans))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Do nothing: nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: nothing is held."""
        return True


class LogExporter(LogRecordExporter):
    """Sends our own log events to the run's receiver.

    The application's log records are left out: they may hold secrets, and say
    nothing about memory.
    """

    def __init__(self) -> None:
        self._link = _Link("/v1/logs")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch; called on the processor's thread."""
        ours = [
            each
            for each in batch
            if (each.log_record.event_name or "").startswith(_EVENT_PREFIX)
        ]
        sent = not ours or self._link.send(lambda: encode_logs(ours))
        return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Do nothing: nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: nothing is held."""
        return True


class _MetricExporter(MetricExporter):
    """Sends metrics to the run's receiver, cumulative whatever is configured."""

    def __init__(self) -> None:
        super().__init__()  # No preference: all kinds are cumulative.
        self._link = _Link("/v1/metrics")

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,
    ) -> MetricExportResult:
        sent = self._link.send(lambda: encode_metrics(metrics_data))
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        pass

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


class MetricReader(PeriodicExportingMetricReader):
    """Reads all metrics every second and sends them to the run's receiver.

    A reader and not an exporter, so that the user's interval stays the user's.

    No fork falls into a reading: the child would inherit the SDK's locks as they are
    then, taken, and could never read its metrics (and a reading a second is more
    than the SDK is used to). So a fork waits for a reading under way, a second at
    most.
    """

    def __init__(self) -> None:
        self._reading = threading.RLock()
        self._forking = threading.local()
        super().__init__(
            _MetricExporter(),
            export_interval_millis=_INTERVAL_MILLIS,
            export_timeout_millis=_COLLECT_MILLIS,
        )
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )

    def collect(self, timeout_millis: float = 10_000) -> None:  # type: ignore[misc]
        """Read and send; a reading that takes too long is left out, without a word."""
        with self._reading, suppress(MetricsTimeoutError):
            super().collect(timeout_millis=timeout_millis)

    def _before_fork(self) -> None:
        self._forking.holds = self._reading.acquire(timeout=_FORK_WAIT_SECONDS)

    def _after_fork_in_parent(self) -> None:
        if self._forking.holds:
            self._reading.release()

    def _after_fork_in_child(self) -> None:
        # The thread that starts again here waits for its interval first.
        self._reading = threading.RLock()
        self._export_lock = threading.Lock()
