# SPDX-License-Identifier: Apache-2.0
"""What exporters take on their own threads is in no span."""

from __future__ import annotations

import threading

from _tools import (
    DELTA,
    MIB,
    OWN,
    attributes_of,
    core_pairs,
    say,
    start,
    telemetry,
)
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

kept = []


class HungrySpans(SpanExporter):
    def __init__(self):
        self.exported, self.threads = threading.Event(), set()

    def export(self, spans):
        kept.append(bytearray(10 * MIB))
        self.threads.add(threading.current_thread())
        self.exported.set()
        return SpanExportResult.SUCCESS


class HungryMetrics(MetricExporter):
    def __init__(self):
        super().__init__()
        self.exported, self.threads = threading.Event(), set()

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        kept.append(bytearray(6 * MIB))
        self.threads.add(threading.current_thread())
        self.exported.set()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass


tracer = start()
spans, values = HungrySpans(), HungryMetrics()
with tracer.start_as_current_span("request"):
    # Made within a span, as frameworks that start lazily do.
    telemetry.provider.add_span_processor(
        BatchSpanProcessor(spans, schedule_delay_millis=50)
    )
    reader = PeriodicExportingMetricReader(values, export_interval_millis=50)
    own_reader = InMemoryMetricReader()
    provider = MeterProvider([reader, own_reader])
    provider.get_meter("isolated").create_counter("requests").add(1)
    with tracer.start_as_current_span("child"):
        pass
    assert spans.exported.wait(30)
    assert values.exported.wait(30)
provider.shutdown()
telemetry.provider.shutdown()
assert metrics.get_meter_provider() is not provider
found = attributes_of("request")
row = core_pairs()[("telemetry", "(telemetry)")]
say(found, row, spans.threads, values.threads)
assert threading.main_thread() not in {*spans.threads} & {*values.threads}
assert found[OWN] < 3 * MIB
assert abs(found[DELTA]) < 3 * MIB
assert row.allocated >= 16 * MIB
assert core_pairs()[("no-span", "(no span)")].allocated < 16 * MIB
