# SPDX-License-Identifier: Apache-2.0
"""The background thread: forks, gevent, the end of the process, and being undone."""

from __future__ import annotations

import faulthandler
import gc
import logging
import threading
import time
import weakref

from _fork import fork_and_wait
from _tools import metric_points, run_case, start, telemetry
from opentelemetry import metrics, trace

from otel_memory import MemoryInstrumentor, instrumentor

HANG_SECONDS = 60  # of what hangs: then tracebacks, and an exit that fails
WARNED = {"interval_seconds": 0.02, "warning": "1MiB", "critical": "off"}
CYCLES = 5


class BlocksForEver(logging.Handler):
    """Somebody's handler that waits for what never comes."""

    def __init__(self):
        super().__init__()
        self.is_blocked = threading.Event()

    def handle(self, record):  # without the lock that logging takes at a fork
        self.is_blocked.set()
        threading.Event().wait()


def block_the_watcher():
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    handler = BlocksForEver()
    logging.getLogger("otel_memory").addHandler(handler)
    tracer = start(**WARNED)
    assert handler.is_blocked.wait(HANG_SECONDS)
    with tracer.start_as_current_span("late"):
        pass


def case_the_process_ends_though_a_log_handler_blocks():
    block_the_watcher()
    # The end of the process comes now.


def case_a_fork_does_not_wait_for_a_log_handler_that_blocks():
    block_the_watcher()
    fork_and_wait(lambda: None)


def case_a_child_ends_though_a_parents_reader_was_collecting():
    tracer = start(interval_seconds=0.02)
    with tracer.start_as_current_span("parent"):
        pass
    while "otel_memory.entry.heap.peak" not in metric_points():
        time.sleep(0.01)
    storage = metrics.get_meter_provider()._measurement_consumer._reader_storages[
        telemetry.reader
    ]
    inside, leave = threading.Event(), threading.Event()

    def collect():
        with storage._lock:
            inside.set()
            leave.wait()

    reader = threading.Thread(target=collect)
    reader.start()
    assert inside.wait(HANG_SECONDS)

    def child():
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        with tracer.start_as_current_span("child"):
            pass
        # What the interpreter does at its end, with the entry still to be recorded.
        thread = instrumentor._wiring.watcher._thread
        instrumentor._at_exit()
        thread.join(HANG_SECONDS / 2)  # at the end it is waited for 5 s at most
        assert not thread.is_alive(), "it hangs in the SDK"

    fork_and_wait(child)
    leave.set()
    reader.join()


def case_a_greenlet_that_a_child_inherits_does_nothing_there():
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import greenlet

    start(interval_seconds=0.02)
    watcher = instrumentor._wiring.watcher
    ticking = []
    tick = type(watcher).tick

    def noted(self):
        ticking.append(greenlet.getcurrent())
        tick(self)

    type(watcher).tick = noted

    def see_one():
        del ticking[:]
        while len(ticking) < 20:
            gevent.sleep(0.01)
        assert len(set(ticking)) == 1, set(ticking)

    see_one()

    def child():
        see_one()
        fork_and_wait(see_one)

    fork_and_wait(child)
    see_one()


def case_the_time_of_gevents_other_greenlets_is_not_the_watchers():
    from gevent import monkey

    monkey.patch_all()
    import gevent

    # So rarely that its own time is little, however slow and busy the machine is.
    start(interval_seconds=0.5)
    before = time.process_time()
    while time.process_time() < before + 2:
        sum(range(10_000))
        gevent.sleep(0)
    ((spent, _),) = metric_points()["otel_memory.watcher.time"]
    assert 0 < spent < 0.5, spent


def case_what_was_undone_is_not_kept():
    start(**WARNED)
    watchers = []
    for _ in range(CYCLES):
        watchers.append(weakref.ref(instrumentor._wiring.watcher))
        thread = instrumentor._wiring.watcher._thread
        MemoryInstrumentor().uninstrument()
        thread.join(HANG_SECONDS)
        del thread
        MemoryInstrumentor().instrument(**WARNED)
    gc.collect()
    assert [each() for each in watchers] == [None] * CYCLES
    fork_and_wait(lambda: None)


class Bad:
    """A provider that does not know its own interface."""

    def get_meter(self, *arguments, **named):
        raise TypeError("nothing")


def case_what_fails_to_be_set_up_is_taken_down():
    from otel_memory import metrics as ours

    start()
    thread = instrumentor._wiring.watcher._thread
    MemoryInstrumentor().uninstrument()
    thread.join(HANG_SECONDS)
    threads = threading.active_count()
    logging.getLogger("otel_memory").setLevel(logging.CRITICAL)
    instrumentor._guard.set_reraise(False)
    MemoryInstrumentor().instrument(meter_provider=Bad())
    assert instrumentor._wiring is None
    assert ours.current() is None
    assert threading.active_count() == threads
    with trace.get_tracer("isolated").start_as_current_span("nobody's") as span:
        bytearray(1_000_000)
    assert not any(name.startswith("otel_memory") for name in span.attributes)
    MemoryInstrumentor().uninstrument()
    MemoryInstrumentor().instrument()
    with trace.get_tracer("isolated").start_as_current_span("ours again") as span:
        bytearray(1_000_000)
    assert any(name.startswith("otel_memory") for name in span.attributes)


if __name__ == "__main__":
    run_case()
