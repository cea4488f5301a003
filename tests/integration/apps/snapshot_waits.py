# SPDX-License-Identifier: Apache-2.0
"""Holds memory in a span and waits, in the way that its argument names."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import warnings

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_memory import MemoryInstrumentor

# What gunicorn's workers set to the default.
RESET = ("ABRT", "HUP", "QUIT", "INT", "TERM", "USR1", "USR2", "WINCH", "CHLD")
REAL_TIME = signal.SIGRTMIN + 3
LIFE = os.pipe()


def say(*words):
    print(*words, flush=True)


def wait_for_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


WAITS = {
    "sleep": lambda: time.sleep(3600),
    "lock": wait_for_lock,
    "select": lambda: select.select([], [], [], 3600),
}


def fork_worker():
    """Fork as gunicorn does; give the worker's process id once it is ready."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        for name in RESET:
            signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)
        os.write(writing, b"1")
        os.close(LIFE[1])
        os.read(LIFE[0], 1)  # ends with the parent
        os._exit(0)
    os.read(reading, 1)
    return pid


def main(how):
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    if how == "before":
        say("ready")
        os.kill(os.getpid(), REAL_TIME)
    trace.set_tracer_provider(TracerProvider())
    MemoryInstrumentor().instrument()
    if how == "after":
        MemoryInstrumentor().uninstrument()
        say("ready")
        os.kill(os.getpid(), REAL_TIME)
    from otel_memory.heap import _core

    _core.set_sampling(True, rate_bytes=32 * 1024)
    with trace.get_tracer("app").start_as_current_span("holder"):
        kept = [bytearray(10_000) for _ in range(2000)]
    if how == "workers":
        workers = [fork_worker(), fork_worker()]
        say("workers", *workers)
        time.sleep(3600)
    elif how == "one worker":
        worker = fork_worker()
        os.kill(worker, signal.SIGUSR2)
        _, status = os.waitpid(worker, 0)
        say("the worker ended by", os.WTERMSIG(status))
    else:
        say("ready")
        WAITS.get(how, len(kept).bit_length)()


if __name__ == "__main__":
    main(sys.argv[1])
