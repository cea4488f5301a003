# SPDX-License-Identifier: Apache-2.0
"""No thread waits for ever, whatever the collector runs while metrics are collected.

A generator that the collector closes ends its span in the middle of whatever runs:
of a callback, of the SDK's own lock, of the recording of an entry.
"""

from __future__ import annotations

import faulthandler
import gc
import sys
import threading

from _metrics import collected, drain
from _tools import metric_points, run_case, start, telemetry
from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from otel_memory import MemoryInstrumentor, _guard, metrics, semconv

faulthandler.dump_traceback_later(270, exit=True)
NAME = semconv.ENTRY_PEAK.name


class Holder:
    """A cycle through a generator that has an entry span open."""

    def __init__(self, tracer):
        self.generator = self.stream(tracer)
        next(self.generator)

    def stream(self, tracer):
        span = tracer.start_span("stream", kind=SpanKind.SERVER)
        try:
            yield self
        finally:
            span.end()


def recorded(reader=None):
    """How many entries the histogram has."""
    metric = collected(reader).get(NAME)
    return sum(point.count for point in metric.data.data_points) if metric else 0


def storm(tracer, rounds, collect=metric_points):
    """Leave spans to the collector, which runs at every few allocations.

    Gives what tells how many spans there were, once no thread runs any more.
    """
    in_callback = []

    def callback(phase, info):
        # Spans from within a collection, too; never an instrument.
        if phase == "stop" and len(in_callback) < rounds * 200:
            in_callback.append(phase)
            tracer.start_span("in a gc callback", kind=SpanKind.SERVER).end()

    thresholds = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(11, 1, 1)
    try:
        for _ in range(rounds):
            for _ in range(5):
                Holder(tracer)
            collect()
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(callback)
    gc.collect()
    assert in_callback
    return lambda: rounds * 5 + len(in_callback)


def case_a_storm_of_collections_while_another_thread_records():
    sys.setswitchinterval(1e-4)
    tracer = start(processor=None, interval_seconds=3600)
    drain()
    ended = threading.Event()

    def watch():
        while not ended.is_set():
            drain()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        count = storm(tracer, 12)
    finally:
        ended.set()
        watcher.join()
    gc.collect()  # the one before does nothing while another thread's goes on
    drain()
    source, spans = metrics.current().source, count()
    assert source.completed() == spans
    assert recorded() + source.entries_dropped() == spans
    counts = {a["span.name"]: v for v, a in metric_points()["otel_memory.span.count"]}
    assert counts["stream"] == 60


def case_every_place_in_which_the_collector_may_start_while_recording():
    tracer = start(processor=None, interval_seconds=3600)
    drain()
    thresholds = gc.get_threshold()
    inside = position = 0
    streams = 0
    while True:
        position += 1
        gc.disable()
        gc.collect()
        tracer.start_span("GET /", kind=SpanKind.SERVER).end()
        entries = metrics.current().source.take_entries()
        Holder(tracer)
        streams += 1
        gc.set_threshold(gc.get_count()[0] + position, 1, 1)
        gc.enable()
        metrics.record_entries(entries)
        gc.disable()
        gc.set_threshold(*thresholds)
        is_inside = bool(metrics.current().source.take_entries())
        gc.collect()
        metrics.current().source.take_entries()
        inside += is_inside
        if not is_inside and position > 20:
            break
        assert position < 3000, "no end of places"
    assert inside >= 10, inside


def case_a_proxy_that_turns_real_amid_a_storm():
    trace.set_tracer_provider(TracerProvider())
    _guard.set_reraise(True)
    MemoryInstrumentor().instrument(interval_seconds=3600)
    drain()
    tracer = trace.get_tracer("isolated")
    ended = threading.Event()

    def watch():
        while not ended.is_set():
            drain()

    watcher = threading.Thread(target=watch)
    watcher.start()
    telemetry.reader = InMemoryMetricReader()
    rounds = []

    def collect():
        rounds.append(1)
        if len(rounds) == 4:
            api.set_meter_provider(MeterProvider([telemetry.reader]))
        metric_points()

    try:
        storm(tracer, 8, collect)
    finally:
        ended.set()
        watcher.join()
    gc.collect()  # the one before does nothing while another thread's goes on
    points = metric_points()
    counts = {a["span.name"]: v for v, a in points["otel_memory.span.count"]}
    assert counts["stream"] == 40
    drain()
    before = recorded()
    tracer.start_span("GET /", kind=SpanKind.SERVER).end()
    drain()
    assert recorded() == before + 1


def case_two_providers_amid_a_storm():
    """One of our own after another, and one of the user's beside, all collecting."""
    tracer = start(processor=None, interval_seconds=3600)
    readers = [telemetry.reader, InMemoryMetricReader(), InMemoryMetricReader()]
    beside = MeterProvider([readers[2]])
    counter = beside.get_meter("shop").create_counter("shop.orders")
    second = MeterProvider([readers[1]])
    drain()
    ended = threading.Event()
    errors = []

    def guarded(work):
        def run():
            try:
                while not ended.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 - shown by the main thread
                errors.append(error)

        return run

    def count():
        counter.add(1)

    works = [drain, count, lambda: collected(readers[1])]
    threads = [threading.Thread(target=guarded(work)) for work in works]

    def collect():
        for reader in readers:
            collected(reader)

    for thread in threads:
        thread.start()
    try:
        storm(tracer, 2, collect)
        ended_first = metrics.current()
        MemoryInstrumentor().uninstrument()
        MemoryInstrumentor().instrument(interval_seconds=3600, meter_provider=second)
        assert metrics.current() is not ended_first
        drain()
        storm(tracer, 2, collect)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == [], errors
    drain()
    before = recorded(readers[1])
    tracer.start_span("GET /", kind=SpanKind.SERVER).end()
    drain()
    assert recorded(readers[1]) == before + 1
    assert set(collected(readers[2])) == {"shop.orders"}


if __name__ == "__main__":
    run_case()
