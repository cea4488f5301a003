# SPDX-License-Identifier: Apache-2.0
"""Alerts in a process of its own: its forks, its end, and the environment's settings."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

from _fork import fork_and_wait
from _tools import metric_points, run_case, start
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)

from otel_memory import MemoryInstrumentor, _background, instrumentor

FORKS = 50
HANG_SECONDS = 60  # of what hangs: then tracebacks, and an exit that fails
WARNED = {"interval_seconds": 0.02, "warning": "1MiB", "critical": "off"}

# Where the whole machine stands still for as long as a fork waits at most, the fork
# comes in the middle of an export. That is the price of the limit, and not looked at.
_background._FORK_SECONDS = HANG_SECONDS

told = threading.Semaphore(0)


def on_alert(alert):
    told.release()


def sleeps(alert):
    told.release()
    threading.Event().wait()


def wait_for_alert():
    assert told.acquire(timeout=HANG_SECONDS)


def start_logs(exporter):
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    _logs.set_logger_provider(provider)
    return provider


def case_every_process_is_warned_of_itself():
    exporter = InMemoryLogRecordExporter()
    start_logs(exporter)
    start(alert_handlers=[on_alert], **WARNED)
    wait_for_alert()
    (before,) = MemoryInstrumentor().recent_alerts()
    assert before.kind == "warning"
    history = instrumentor._wiring.watcher._history

    def child():
        exporter.clear()
        wait_for_alert()
        (alert,) = MemoryInstrumentor().recent_alerts()
        assert alert.time_seconds > before.time_seconds
        watcher = instrumentor._wiring.watcher
        assert watcher._findings.alerts["warning"] == 1
        assert watcher._history is not history
        assert watcher._uptime_seconds() < time.monotonic() - born_at + 1
        grandchild = os.fork()
        if grandchild == 0:
            code = 1
            try:
                wait_for_alert()
                assert len(MemoryInstrumentor().recent_alerts()) == 1
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(grandchild, 0)[1] == 0

    born_at = time.monotonic()
    fork_and_wait(child)
    assert MemoryInstrumentor().recent_alerts() == (before,)
    MemoryInstrumentor().uninstrument()
    assert MemoryInstrumentor().recent_alerts() == ()


class HoldsALock(LogRecordExporter):
    """As exporters do; nobody in a forked child is there to release it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.exports = 0

    def export(self, batch):
        with self.lock:
            self.exports += 1
            time.sleep(0.001)  # the longer it is held, the surer is a fork meanwhile
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis=30_000):
        return True

    def shutdown(self):
        pass


def case_a_fork_leaves_no_lock_of_the_sdk_behind():
    exporter = HoldsALock()
    provider = start_logs(exporter)
    tracer = start(interval_seconds=0.001, profile_interval_seconds=0.001)

    def child():
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        before = exporter.exports
        provider.get_logger("child").emit(body="x")
        assert exporter.exports > before
        with tracer.start_as_current_span("GET /child"):
            pass
        instrumentor._wiring.watcher._fetch_entries()
        assert metric_points()

    for fork in range(FORKS):
        before = exporter.exports
        with tracer.start_as_current_span(f"GET /{fork % 3}"):
            pass
        fork_and_wait(child)
        assert exporter.exports >= before


def case_a_handler_that_never_returns_does_not_keep_the_process():
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    start(alert_handlers=[sleeps], **WARNED)
    wait_for_alert()
    # The end of the process comes now, with the handler at it.


def case_the_environment_names_the_handlers_and_thresholds():
    start()
    wait_for_alert()
    (alert,) = MemoryInstrumentor().recent_alerts()
    assert (alert.kind, alert.threshold) == ("warning", 2 * 1024 * 1024)


def case_a_disabled_sdk_has_no_alerts():
    start(alert_handlers=[on_alert], **WARNED)
    assert MemoryInstrumentor().recent_alerts() == ()
    names = {thread.name for thread in threading.enumerate()}
    assert not {"otel-memory-watcher", "otel-memory-alerts"} & names


if __name__ == "__main__":
    sys.modules["alert_process"] = sys.modules["__main__"]  # for its name in a variable
    run_case()
