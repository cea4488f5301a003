# SPDX-License-Identifier: Apache-2.0
"""Hours of a process's life in seconds: real spans, heap and memory, and a clock ahead.

The library `clock_ahead` is preloaded, which the counting core's ages follow; the
watcher is given the same clock, and ticks when it is told to. The thread of the
instrumentor's own watcher sleeps meanwhile.
"""

from __future__ import annotations

import ctypes
import http.client
import sys
from pathlib import Path

from _tools import start
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)

from otel_memory import MemoryConfig, instrumentor, metrics, semconv
from otel_memory.alerts import Alerts, Handlers
from otel_memory.findings import Findings
from otel_memory.process import open_readings
from otel_memory.watcher import Watcher

EXAMPLES = Path(__file__).parents[2] / "examples"
LEAK_SUSPECTED = "otel_memory.leak.suspected"


class Hours:
    """An instrumented process whose time passes when a test says so."""

    def __init__(self, **settings):
        self._library = ctypes.CDLL(sys.argv[2])
        self.seconds = 0.0
        self.exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider()
        provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        _logs.set_logger_provider(provider)
        # Spans are not kept: that would be a leak.
        self.tracer = start(processor=None, interval_seconds=3600)
        config = MemoryConfig(interval_seconds=60, limit_bytes="64GiB", **settings)
        self.findings = Findings()
        events = provider.get_logger(semconv.SCOPE_NAME)
        source = instrumentor._wiring.source
        self.watcher = Watcher(
            source,
            config,
            readings=open_readings(),
            findings=self.findings,
            alerts=Alerts(events, self.findings, Handlers(())),
            events=events,
            completed=source.completed,
            record_entries=metrics.record_entries,
            clock=lambda: self.seconds,
        )

    @property
    def hours(self):
        return self.seconds / 3600

    def pass_minute(self):
        self._library.put_ahead(ctypes.c_long(60))
        self.seconds += 60
        self.watcher.tick()

    def events(self):
        """Of alerts, as (name, attributes)."""
        return [
            (data.log_record.event_name, dict(data.log_record.attributes))
            for data in self.exporter.get_finished_logs()
        ]


def get(port, path):
    """Ask a server on this machine, and see that it answers well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == 200, (path, response.status)
