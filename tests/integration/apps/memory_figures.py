# SPDX-License-Identifier: Apache-2.0
"""Instruments itself, makes spans, and prints what can be seen, as JSON."""

from __future__ import annotations

import json
import sys

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_memory

ORIGINAL = (vars(Tracer)["start_span"], vars(Span)["end"])


def main():
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    otel_memory.MemoryInstrumentor().instrument()
    tracer = trace.get_tracer("app")
    if "uninstrument" in sys.argv:
        otel_memory.MemoryInstrumentor().uninstrument()
    with tracer.start_as_current_span("alone"):
        block = bytes(1024 * 1024)
    del block
    with otel_memory.track_memory("tracked") as figures:
        pass
    outer = tracer.start_span("outer")
    tracer.start_span("other").end()
    outer.end()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    data = reader.get_metrics_data()
    found = {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    source = found.get("otel_memory.heap.source")
    print(
        json.dumps(
            {
                "package": otel_memory.__file__,
                "attributes": {
                    name: type(value).__name__
                    for name, value in spans["alone"].attributes.items()
                    if name.startswith("otel_memory.")
                },
                "figures": [
                    figures.allocated_bytes,
                    figures.self_allocated_bytes,
                    figures.delta_bytes,
                    figures.peak_bytes,
                    figures.rss_delta_bytes,
                    figures.rss_exclusive,
                ],
                "exclusive": {
                    name: spans[name].attributes.get("otel_memory.rss.exclusive")
                    for name in ("alone", "outer", "other")
                },
                "source": source and dict(source.data.data_points[0].attributes),
                "metrics": sorted(found),
                "restored": (vars(Tracer)["start_span"], vars(Span)["end"]) == ORIGINAL,
            }
        )
    )


if __name__ == "__main__":
    main()
