# SPDX-License-Identifier: Apache-2.0
"""A heap profile of a running process: by a call, and by a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_memory.recording.fold import summarise

from .isolated_support import APPS, UNTRACED, cases, environment, output, run, run_case

pytestmark = pytest.mark.extension

WAITS = APPS / "snapshot_waits.py"
REAL_TIME = signal.SIGRTMIN + 3
WROTE = re.compile(r"(\S+): wrote a heap profile of (.*); look at it with: (.*)\n")


@pytest.mark.parametrize(
    ("script", "case"), cases("snapshot_call.py", "snapshot_signal.py")
)
def test_it_is_so(script, case, tmp_path):
    run_case(script, case, TMPDIR=str(tmp_path), **UNTRACED)


@contextmanager
def app(*arguments, **variables):
    """Start the application; whatever happens it is ended."""
    process = subprocess.Popen(
        [sys.executable, str(WAITS), *arguments],
        env=environment(OTEL_PYTHON_MEMORY_PROFILE_SIGNAL="SIGRTMIN+3", **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def read_until(process, pattern):
    """Read what a process prints until a line matches."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        match = re.fullmatch(pattern, line)
        if match:
            return match
    pytest.fail(f"exit {process.wait()}, printed: {''.join(seen)}")


def assert_written(match, pid, tmp_path):
    name, size, command = match.groups()
    assert name == "SIGRTMIN+3"
    assert size.endswith("KiB")
    path = Path(command.removeprefix("otel-memory report "))
    assert path.parent == tmp_path
    summary = summarise(path)
    assert [process.pid for process in summary.processes] == [pid]
    assert summary.spans[0].name == "holder"
    assert 15e6 < summary.spans[0].live_bytes < 25e6
    return path


@pytest.mark.parametrize("where", ["sleep", "lock", "select"])
def test_a_main_thread_that_waits_is_no_obstacle(where, tmp_path):
    with app(where, OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY=str(tmp_path)) as process:
        read_until(process, "ready\n")
        process.send_signal(REAL_TIME)
        first = read_until(process, WROTE)
        first = assert_written(first, process.pid, tmp_path)
        process.send_signal(REAL_TIME)
        second = assert_written(read_until(process, WROTE), process.pid, tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted({first, second})
        assert len({first, second}) == 2
        assert process.poll() is None


def test_without_a_directory_it_goes_to_the_systems(tmp_path):
    with app("sleep", TMPDIR=str(tmp_path)) as process:
        read_until(process, "ready\n")
        process.send_signal(REAL_TIME)
        assert_written(read_until(process, WROTE), process.pid, tmp_path)


def test_workers_that_reset_their_signals_keep_a_real_time_one(tmp_path):
    """gunicorn's workers set these to the default after they are forked."""
    with app("workers", TMPDIR=str(tmp_path)) as process:
        workers = read_until(process, r"workers (\d+) (\d+)\n").groups()
        for pid in (int(workers[1]), process.pid, int(workers[0])):
            os.kill(pid, REAL_TIME)
            assert_written(read_until(process, WROTE), pid, tmp_path)


def test_a_worker_that_has_reset_the_signal_ends_by_it(tmp_path):
    variables = {"OTEL_PYTHON_MEMORY_PROFILE_SIGNAL": "SIGUSR2"}
    done = run(WAITS, "one worker", TMPDIR=str(tmp_path), **variables)
    assert done.returncode == 0, output(done)
    assert done.stdout == f"the worker ended by {int(signal.SIGUSR2)}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_us_the_signal_ends_the_process(when, tmp_path):
    variables = {"OTEL_PYTHON_MEMORY_PROFILE_SIGNAL": "SIGRTMIN+3"}
    done = run(WAITS, when, TMPDIR=str(tmp_path), **variables)
    assert done.returncode == -REAL_TIME, output(done)
    assert done.stdout == "ready\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("PROFILE_SIGNAL", "SIGTERM", "='SIGTERM' is not SIGUSR1, SIGUSR2 or one of"),
        ("PROFILE_SIGNAL", "9", "='9' is not SIGUSR1, SIGUSR2 or one of"),
        ("TOP_SITES_THRESHOLD", "8 parrots", "='8 parrots' is not a size, such as"),
        ("PROFILE_DIRECTORY", "/no/where", "there is no directory /no/where to"),
    ],
)
def test_a_wrong_variable_is_one_line(variable, value, line, tmp_path):
    done = run(
        WAITS,
        "nothing",
        TMPDIR=str(tmp_path),
        **{
            "OTEL_PYTHON_MEMORY_PROFILE_SIGNAL": "SIGRTMIN+3",
            f"OTEL_PYTHON_MEMORY_{variable}": value,
        },
    )
    assert (done.returncode, done.stdout) == (0, "ready\n"), output(done)
    (only,) = done.stderr.splitlines()
    assert line in only


def test_the_signals_modules_come_only_where_it_is_on():
    code = (
        "import json, sys, otel_memory; otel_memory.MemoryInstrumentor().instrument();"
        "print(json.dumps([m for m in sys.modules if m.startswith('otel_memory')]))"
    )
    for on in (False, True):
        variables = {"OTEL_PYTHON_MEMORY_PROFILE_SIGNAL": "SIGUSR2"} if on else {}
        modules = json.loads(run("-c", code, **variables).stdout)
        for module in ("profile_signal", "snapshot", "recording.file"):
            assert (f"otel_memory.{module}" in modules) is on
