# SPDX-License-Identifier: Apache-2.0
"""What the scripts beside it share. Each of them runs in a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from types import SimpleNamespace

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_memory import MemoryInstrumentor, _guard

MIB = 1024 * 1024

DELTA = "otel_memory.heap.delta"
PEAK = "otel_memory.heap.peak"
ALLOCATED = "otel_memory.heap.allocated"
OWN = "otel_memory.heap.self.allocated"
RSS = "otel_memory.rss.delta"
EXCLUSIVE = "otel_memory.rss.exclusive"
HEAP_ATTRIBUTES = (DELTA, PEAK, ALLOCATED, OWN)

telemetry = SimpleNamespace(exporter=None, reader=None)


def start(processor=SimpleSpanProcessor, **config):
    """Set up real providers with in-memory exporters, instrument, give a tracer."""
    telemetry.exporter = InMemorySpanExporter()
    telemetry.reader = InMemoryMetricReader()
    provider = TracerProvider()
    if processor is not None:
        provider.add_span_processor(processor(telemetry.exporter))
    telemetry.provider = provider
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([telemetry.reader]))
    _guard.set_reraise(True)  # what would only be logged shall fail here
    MemoryInstrumentor().instrument(**config)
    return trace.get_tracer("isolated")


def attributes_of(name):
    """The attributes of the last ended span of that name."""
    found = [s for s in telemetry.exporter.get_finished_spans() if s.name == name]
    assert found, f"no span {name!r} was exported"
    return dict(found[-1].attributes)


def core_pairs():
    """All rows of the counting core, by (sort, name)."""
    from otel_memory.heap import _core

    fields = ("sort", "name", "kind", "entry", "count", "allocated", "peak")
    fields = (*fields, "live", "samples")
    return {
        (row[0], row[1]): SimpleNamespace(**dict(zip(fields, row, strict=True)))
        for row in _core.pairs()
    }


def metric_points():
    """Collect once: {metric name: [(value, attributes)]}; of histograms the count."""
    points = {}
    data = telemetry.reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points[metric.name] = [
                    (p.value if hasattr(p, "value") else p.count, dict(p.attributes))
                    for p in metric.data.data_points
                ]
    return points


def rss_bytes():
    """Of this process, now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def say(*figures):
    """Print what a failing run should show."""
    print(*figures, flush=True)


def close_to(measured, expected, slack=0, share=0.015):
    """Whether a figure is within the share that DESIGN allows, plus a slack."""
    return abs(measured - expected) <= share * abs(expected) + slack


def assert_close(measured, expected, slack=0, share=0.015):
    """Say both when they differ too much."""
    assert close_to(measured, expected, slack, share), (
        f"{measured:,} is not {expected:,} (±{share:.1%} ± {slack:,})"
    )


def python():
    """The interpreter that runs this."""
    return sys.executable


def start_with(provider, **config):
    """As `start`, with a tracer provider of the caller's; the exporter is added."""
    telemetry.exporter = InMemorySpanExporter()
    telemetry.reader = InMemoryMetricReader()
    provider.add_span_processor(SimpleSpanProcessor(telemetry.exporter))
    telemetry.provider = provider
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([telemetry.reader]))
    _guard.set_reraise(True)
    MemoryInstrumentor().instrument(**config)
    return trace.get_tracer("isolated")


def rows(sort="span"):
    """All rows of one sort of the counting core, as a list."""
    return [row for row in core_rows() if row.sort == sort]


def core_rows():
    """All rows of the counting core; one name may stand under several entries."""
    from otel_memory.heap import _core

    fields = ("sort", "name", "kind", "entry", "count", "allocated", "peak")
    fields = (*fields, "live", "samples")
    return [
        SimpleNamespace(**dict(zip(fields, row, strict=True))) for row in _core.pairs()
    ]


class Logged(logging.Handler):
    """Keeps what is logged from now on, as "logger: message"."""

    def __init__(self):
        super().__init__()
        self.lines = []
        logging.getLogger().addHandler(self)

    def emit(self, record):
        self.lines.append(f"{record.name}: {record.getMessage()}")

    def about(self, text):
        return [line for line in self.lines if text in line]


def run_case():
    """Run the case that the command line names; nothing of ours may fail meanwhile."""
    main = sys.modules["__main__"]
    logged = Logged()
    getattr(main, sys.argv[1])()
    for trouble in ("otel-memory failed", "on ended span"):
        assert not logged.about(trouble), logged.lines


def raised_by(function, *args, **kwargs):
    """What a call raises, whatever it is; None when it raises nothing."""
    try:
        function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - it is what the caller looks at
        return error
    return None
