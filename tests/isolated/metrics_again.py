# SPDX-License-Identifier: Apache-2.0
"""Instrumented again: sums go on, and only the provider asked for gets figures."""

from __future__ import annotations

import faulthandler
import gc

from _metrics import collected
from _tools import metric_points, run_case, start, telemetry
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_memory import MemoryInstrumentor, metrics
from otel_memory.findings import Findings

faulthandler.dump_traceback_later(270, exit=True)
CONFIG = {"interval_seconds": 3600}


def another():
    reader = InMemoryMetricReader()
    return MeterProvider([reader]), reader


def again(**arguments):
    MemoryInstrumentor().uninstrument()
    MemoryInstrumentor().instrument(**CONFIG, **arguments)


def ours(reader):
    return {name for name in collected(reader) if name.startswith("otel_memory")}


def case_sums_go_on():
    start(**CONFIG)
    Findings.count_watcher(2.0)
    Findings.alerts["leak"] += 3
    again()
    points = metric_points()
    ((spent, _),) = points["otel_memory.watcher.time"]
    assert spent >= 2.0
    alerts = {a["otel_memory.alert.kind"]: n for n, a in points["otel_memory.alerts"]}
    assert alerts["leak"] == 3


def case_only_the_provider_that_was_asked_for_gets_figures():
    start(**CONFIG)
    global_reader = telemetry.reader
    everything = ours(global_reader)
    assert "otel_memory.process.rss" in everything
    provider, reader = another()
    for _ in range(2):
        again(meter_provider=provider)
        assert ours(reader) == everything
        assert ours(global_reader) == set()
        again()
        assert ours(reader) == set()
        assert ours(global_reader) == everything
    # The global one, by its name.
    again(meter_provider=api.get_meter_provider())
    assert ours(global_reader) == everything


def case_a_provider_is_not_kept_alive():
    start(**CONFIG)
    provider, reader = another()
    again(meter_provider=provider)
    assert ours(reader)
    again()
    provider.shutdown()
    del provider
    gc.collect()
    assert "otel_memory.process.rss" in ours(telemetry.reader)


def case_a_collection_within_the_reading_of_rows():
    tracer = start(**CONFIG)
    source = metrics.current().source
    read, depth = source.pairs, []

    def pairs():
        if not depth:  # As a finaliser that flushes would, in the middle of it.
            depth.append(1)
            metric_points()
        return read()

    source.pairs = pairs
    with tracer.start_as_current_span("work"):
        pass
    metrics.record_entries(source.take_entries())
    assert depth
    points = metric_points()
    assert [n for n, _ in points["otel_memory.entry.heap.peak"]] == [1]
    assert "work" in {a["span.name"] for _, a in points["otel_memory.span.count"]}


if __name__ == "__main__":
    run_case()
