# SPDX-License-Identifier: Apache-2.0
"""Our exporters inside an application disturb it in no way."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from otel_memory.recording.otlp import events, pid_of, points, resources
from otel_memory.recording.receiver import Receiver

from .cli_support import REPORTS, TIMEOUT_SECONDS, environment

INSTRUMENT = shutil.which("opentelemetry-instrument", path=Path(sys.executable).parent)
OURS = {
    f"OTEL_{signal}_EXPORTER": "otel_memory" for signal in ("TRACES", "METRICS", "LOGS")
}


def run(*arguments, **changes):
    return subprocess.run(
        [INSTRUMENT, sys.executable, *map(str, arguments)],
        # From 3.12 on Python warns of forks beside threads, which the SDK has.
        env=environment(
            PYTHONWARNINGS="ignore::DeprecationWarning", **{**OURS, **changes}
        ),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def assert_undisturbed(done):
    assert done.returncode == 0
    assert done.stdout == "out of the application\n"
    assert done.stderr == "err of the application\n"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def receiver(lines):
    with Receiver(lambda signal, line: lines.append((signal, line))) as opened:
        yield opened


def to(receiver):
    return {
        "OTEL_PYTHON_MEMORY_RECEIVER": receiver.endpoint,
        "OTEL_PYTHON_MEMORY_RECEIVER_TOKEN": receiver.token,
    }


def test_all_signals_arrive_with_the_pid(receiver, lines):
    done = run(REPORTS, **to(receiver))
    assert_undisturbed(done)
    assert {signal for signal, _ in lines} == {"traces", "metrics", "logs"}
    pids = {pid_of(part) for _, line in lines for part in resources(line)}
    assert len(pids) == 1
    assert None not in pids


def test_a_forked_process_reports_under_its_own_pid(receiver, lines):
    done = run(REPORTS, "fork", **to(receiver))
    assert_undisturbed(done)
    pids = {point.pid for _, line in lines for point in points(line)}
    assert len(pids) == 2


def test_the_users_settings_are_neither_obeyed_nor_sent(receiver, lines):
    done = run(
        REPORTS,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://192.0.2.1:1",
        OTEL_EXPORTER_OTLP_COMPRESSION="nonsense",
        OTEL_EXPORTER_OTLP_TIMEOUT="nonsense",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
        OTEL_METRIC_EXPORT_INTERVAL="3600000",
        http_proxy="http://192.0.2.1:1",
        HTTP_PROXY="http://192.0.2.1:1",
        **to(receiver),
    )
    assert_undisturbed(done)
    temporalities = {
        metric["sum"]["aggregationTemporality"]
        for signal, line in lines
        if signal == "metrics"
        for part in line["resourceMetrics"]
        for scope in part["scopeMetrics"]
        for metric in scope["metrics"]
        if "sum" in metric
    }
    assert temporalities == {2}


def test_only_our_own_log_events_are_sent(receiver, lines):
    code = """
from opentelemetry._logs import get_logger
get_logger("app").emit(body="a secret of the application")
get_logger("app").emit(event_name="app.event", body="another secret")
get_logger("otel_memory").emit(event_name="otel_memory.alert", body="ours")
"""
    done = run("-c", code, **to(receiver))
    assert done.stderr == ""
    names = [event.name for _, line in lines for event in events(line)]
    assert names == ["otel_memory.alert"]
    assert "secret" not in str(lines)


FLUSHES = """
import time
from opentelemetry import metrics
metrics.get_meter("m").create_counter("c").add(1)
started = time.monotonic()
for _ in range(10):
    metrics.get_meter_provider().force_flush()
print(time.monotonic() - started)
"""


def assert_only_moments_are_lost(port):
    to_port = {
        "OTEL_PYTHON_MEMORY_RECEIVER": f"http://127.0.0.1:{port}",
        "OTEL_PYTHON_MEMORY_RECEIVER_TOKEN": "x",
    }
    assert_undisturbed(run(REPORTS, **to_port))
    # Without the start of a process, which alone may take longer on a busy machine.
    done = run("-c", FLUSHES, **to_port)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 10


def test_a_receiver_that_is_gone_is_not_noticed():
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))  # Not listening: refuses at once.
        assert_only_moments_are_lost(placeholder.getsockname()[1])


def test_a_receiver_that_hangs_takes_moments_only():
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        assert_only_moments_are_lost(hanging.getsockname()[1])


@pytest.mark.parametrize("endpoint", ["", "nonsense", "http://[::1", "http://a:b:c"])
def test_without_a_receiver_nothing_happens(endpoint):
    done = run(REPORTS, OTEL_PYTHON_MEMORY_RECEIVER=endpoint)
    assert_undisturbed(done)


def test_a_wrong_token_is_not_noticed(receiver, lines):
    variables = {**to(receiver), "OTEL_PYTHON_MEMORY_RECEIVER_TOKEN": "wrong"}
    done = run(REPORTS, **variables)
    assert_undisturbed(done)
    assert lines == []


def test_requests_are_not_imported_into_the_application():
    code = "import sys; print([m for m in ('requests', 'rich') if m in sys.modules])"
    done = run("-c", code)
    assert done.stdout == "[]\n"


FORKS = """
import os, threading, time
from opentelemetry import metrics
from otel_memory.recording import exporters

exporters._TIMEOUT_SECONDS = 60.0  # nothing of this is about a slow receiver

def slow(options):
    time.sleep(0.005)
    return [metrics.Observation(1)]

for number in range(5):
    metrics.get_meter("m").create_observable_gauge(f"g{number}", [slow])

def read():
    while True:
        metrics.get_meter_provider().force_flush()
        time.sleep(0.02)  # or the fork, which waits for its turn, may never get it

threading.Thread(target=read, daemon=True).start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        metrics.get_meter_provider().force_flush()
        os._exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            raise SystemExit("a forked process hangs")
        time.sleep(0.01)
"""


def test_a_fork_amid_a_reading_leaves_the_child_able_to_read(receiver, lines):
    done = run("-c", FORKS, **to(receiver))
    assert (done.returncode, done.stderr) == (0, "")
    assert len({point.pid for _, line in lines for point in points(line)}) == 21
