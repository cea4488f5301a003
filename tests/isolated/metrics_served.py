# SPDX-License-Identifier: Apache-2.0
"""What real exporters make of the table: a scrape by Prometheus, and OTLP."""

from __future__ import annotations

import urllib.request

from _metrics import CONVENTIONS, TABLE, drain, know_everything
from _tools import MIB, run_case, start
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.trace import SpanKind
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from otel_memory import semconv
from otel_memory.recording.receiver import Receiver
from otel_memory.semconv import Kind

ROWS = {**TABLE, **CONVENTIONS}
TYPES = {
    Kind.OBSERVABLE_COUNTER: "counter",
    Kind.OBSERVABLE_UP_DOWN_COUNTER: "gauge",
    Kind.OBSERVABLE_GAUGE: "gauge",
    Kind.HISTOGRAM: "histogram",
}
OTLP = {
    Kind.OBSERVABLE_COUNTER: ("sum", True),
    Kind.OBSERVABLE_UP_DOWN_COUNTER: ("sum", None),
    Kind.OBSERVABLE_GAUGE: ("gauge", None),
    Kind.HISTOGRAM: ("histogram", None),
}


def serve(reader):
    """Start with a provider of the caller's reader, every row with a value."""
    tracer = start(interval_seconds=3600, meter_provider=MeterProvider([reader]))
    drain()
    with tracer.start_as_current_span("GET /spike", kind=SpanKind.SERVER) as span:
        block = bytearray(8 * MIB)
    del block
    know_everything()
    drain()
    return span.get_span_context()


def scraped():
    """Scrape over HTTP: {family: type} and {sample name: [labels]}."""
    server, thread = start_http_server(0, addr="127.0.0.1")
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=30) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    types = [line.split()[2:] for line in text.splitlines() if "# TYPE" in line]
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    return types, samples


def case_prometheus_scrapes_the_names_that_we_say():
    own, _ = scraped()  # prometheus_client's, of the process and of Python
    serve(PrometheusMetricReader())
    types, samples = scraped()
    names = [name for name, _ in types]
    assert len(names) == len(set(names)), "a family twice"
    assert "python_gc_collections_total" in dict(own)
    found = {
        name: kind
        for name, kind in types
        if name not in dict(own) and name != "target_info"
    }
    expected = {semconv.prometheus_name(row): TYPES[row.kind] for row in ROWS.values()}
    assert len(expected) == len(ROWS), "two rows of one name"
    assert found == expected, set(found.items()) ^ set(expected.items())
    for row in ROWS.values():
        name = semconv.prometheus_name(row)
        series = f"{name}_bucket" if row.kind is Kind.HISTOGRAM else name
        attributes = {attribute.replace(".", "_") for attribute in row.attributes}
        for labels in samples[series]:
            assert attributes <= set(labels), (name, labels)
            assert labels["otel_scope_name"] == semconv.SCOPE_NAME
    bounds = {
        labels["le"] for labels in samples["otel_memory_entry_heap_peak_bytes_bucket"]
    }
    assert len(bounds) == len(semconv.ENTRY_PEAK.boundaries) + 1


def case_otlp_carries_the_table():
    received = []
    with Receiver(lambda signal, line: received.append((signal, line))) as receiver:
        exporter = OTLPMetricExporter(
            endpoint=f"{receiver.endpoint}/v1/metrics",
            headers={"authorization": f"Bearer {receiver.token}"},
        )
        reader = PeriodicExportingMetricReader(exporter, 3_600_000)
        spike = serve(reader)
        reader.force_flush()
        reader.shutdown()
    found = {
        metric["name"]: metric
        for signal, line in received[:1]
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        if signal == "metrics" and scope["scope"]["name"] == semconv.SCOPE_NAME
    }
    assert set(found) == set(ROWS), set(found) ^ set(ROWS)
    for name, row in ROWS.items():
        metric = found[name]
        key, is_monotonic = OTLP[row.kind]
        assert metric["unit"] == row.unit, name
        assert metric["description"] == row.description, name
        assert key in metric, (name, list(metric))
        assert (metric[key].get("isMonotonic") or None) is is_monotonic, name
        if key != "gauge":
            assert metric[key]["aggregationTemporality"] in (
                2,
                "AGGREGATION_TEMPORALITY_CUMULATIVE",
            ), name
        assert metric[key]["dataPoints"], name
    (point,) = found["otel_memory.entry.heap.peak"]["histogram"]["dataPoints"]
    assert point["explicitBounds"] == list(semconv.ENTRY_PEAK.boundaries)
    (exemplar,) = point["exemplars"]
    assert int(exemplar["traceId"], 16) == spike.trace_id
    assert int(exemplar["spanId"], 16) == spike.span_id


if __name__ == "__main__":
    run_case()
