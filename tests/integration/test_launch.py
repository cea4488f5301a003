# SPDX-License-Identifier: Apache-2.0
"""`opentelemetry-instrument python app.py`, as users start it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from otel_memory import config, semconv

from .isolated_support import APPS, TIMEOUT_SECONDS, environment, output

pytestmark = pytest.mark.extension

BIN = Path(sys.executable).parent
INSTRUMENT = shutil.which("opentelemetry-instrument", path=BIN)
APP = APPS / "memory_launched.py"
MIB = 1024 * 1024
KEPT_BYTES = 5 * MIB
# What a machine may not have, what has to be asked for, what a short run never has,
# and what system-metrics emits, which runs beside us in all of these.
MAY_BE_ABSENT = {
    metric.name
    for metric in (
        *(semconv.LIMIT, semconv.LIMIT_USAGE, semconv.LIMIT_EVENTS),
        *(semconv.OOM_KILLS, semconv.PRESSURE_SOME, semconv.PRESSURE_FULL),
        *(semconv.PROCESS_USS, semconv.PROCESS_PSS, semconv.PROCESS_SWAP),
        *(semconv.GROWTH, semconv.ENTRY_PEAK),
        *(semconv.CONVENTION_USAGE, semconv.CONVENTION_VIRTUAL),
        *(semconv.CONVENTION_GC_COLLECTIONS, semconv.CONVENTION_GC_COLLECTED),
        semconv.CONVENTION_GC_UNCOLLECTABLE,
    )
}
ON_A_SPAN = {
    "otel_memory.heap.allocated",
    "otel_memory.heap.delta",
    "otel_memory.heap.peak",
    "otel_memory.heap.self.allocated",
    "otel_memory.rss.delta",
    "otel_memory.rss.exclusive",
}


def exporters(name, **changes):
    return {f"OTEL_{s}_EXPORTER": name for s in ("TRACES", "METRICS", "LOGS")} | changes


NONE, CONSOLE = exporters("none"), exporters("console", OTEL_LOGS_EXPORTER="none")


# The one for logging takes warnings away from stderr, and starts a thread when the
# interpreter ends, which Python 3.12 refuses with a traceback.
NOISY = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging"}


def launch(*arguments, cwd, exit_code=0, flags=(), traceback=False, **variables):
    done = subprocess.run(
        [INSTRUMENT, *flags, sys.executable, str(APP), *arguments],
        env=environment(**{**NOISY, **variables}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == exit_code, output(done)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("APP ")]
    assert traceback or "Traceback" not in done.stderr, output(done)
    return json.loads(line[4:]), done


def documents(done):
    """The JSON documents that console exporters print."""
    text = "".join(
        line
        for line in done.stdout.splitlines(keepends=True)
        if not line.startswith("APP ")
    )
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found


def spans_of(done):
    return [d for d in documents(done) if "trace_id" in d.get("context", {})]


def metrics_of(done):
    """The last collection: {scope: {name: data points}}; no name twice in a scope."""
    last = [d for d in documents(done) if "resource_metrics" in d][-1]
    scopes = {}
    for resource in last["resource_metrics"]:
        for scope in resource["scope_metrics"]:
            names = [metric["name"] for metric in scope["metrics"]]
            assert len(names) == len(set(names)), names
            scopes[scope["scope"]["name"]] = {
                metric["name"]: metric["data"]["data_points"]
                for metric in scope["metrics"]
            }
    return scopes


def ours(attributes):
    return {name for name in attributes if name.startswith("otel_memory.")}


def live(points):
    """Live bytes by (entry, span)."""
    return {
        (p["attributes"]["otel_memory.entry"], p["attributes"]["span.name"]): p["value"]
        for p in points
        if p["attributes"]["otel_memory.sort"] == "span"
    }


def test_spans_and_metrics_arrive_through_the_console_exporter(tmp_path):
    found, done = launch(cwd=tmp_path, **CONSOLE)
    assert found["wrapped"]
    spans = spans_of(done)
    assert [span["name"] for span in spans] == ["keeps"] * 4
    for span in spans:
        assert ours(span["attributes"]) == ON_A_SPAN
        delta_bytes = span["attributes"]["otel_memory.heap.delta"]
        assert abs(delta_bytes - KEPT_BYTES) < 0.05 * MIB
    metrics = metrics_of(done)[semconv.SCOPE_NAME]
    table = {metric.name for metric in (*semconv.METRICS, *semconv.CONVENTION_METRICS)}
    assert table - set(metrics) <= MAY_BE_ABSENT
    assert set(metrics) <= table
    # Collected at the very end of the process.
    counts = {
        p["attributes"]["span.name"]: p["value"]
        for p in metrics["otel_memory.span.count"]
        if p["attributes"]["otel_memory.sort"] == "span"
    }
    assert counts == {"keeps": 4}
    # At least three of the four, or five, are in the samples, but once in 10^8 runs.
    held = live(metrics["otel_memory.span.heap.live"])
    assert held["keeps", "keeps"] > 2.5 * KEPT_BYTES
    assert "Setting attribute on ended span" not in done.stderr
    assert done.stderr == ""


def test_without_exporters_the_application_runs_and_has_figures(tmp_path):
    found, done = launch("figures", cwd=tmp_path, **NONE)
    assert abs(found["delta"] - 2 * MIB) < 0.05 * MIB
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_the_applications_exit_code_is_its_own(tmp_path):
    _, done = launch("fails", cwd=tmp_path, exit_code=7, **NONE)
    assert done.stderr == ""


class Collector(ThreadingHTTPServer):
    """A real OTLP/HTTP server on the loopback."""

    def __init__(self):
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                if handler.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                self.requests.append((handler.path, body))
                handler.send_response(200)
                handler.send_header("Content-Type", "application/x-protobuf")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *arguments):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def bodies(self, path, kind):
        return [kind.FromString(body) for at, body in self.requests if at == path]


@pytest.fixture
def collector():
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _values(attributes):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


def test_spans_and_metrics_arrive_through_otlp(tmp_path, collector):
    _, done = launch(
        cwd=tmp_path,
        **exporters("otlp", OTEL_LOGS_EXPORTER="none"),
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    assert done.stderr == ""
    spans = [
        span
        for body in collector.bodies("/v1/traces", ExportTraceServiceRequest)
        for resource in body.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["keeps"] * 4
    for span in spans:
        values = {k: v for k, v in _values(span.attributes).items() if k in ON_A_SPAN}
        assert {name: type(value) for name, value in values.items()} == {
            name: bool if name.endswith("exclusive") else int for name in ON_A_SPAN
        }
    metrics = {
        metric.name: metric
        for body in collector.bodies("/v1/metrics", ExportMetricsServiceRequest)
        for resource in body.resource_metrics
        for scope in resource.scope_metrics
        if scope.scope.name == semconv.SCOPE_NAME
        for metric in scope.metrics
    }
    table = (*semconv.METRICS, *semconv.CONVENTION_METRICS)
    units = {metric.name: metric.unit for metric in table}
    assert {name: metric.unit for name, metric in metrics.items()} == {
        name: units[name] for name in metrics
    }
    assert units.keys() - metrics.keys() <= MAY_BE_ABSENT
    assert metrics["otel_memory.span.count"].sum.is_monotonic
    counts = {
        _values(point.attributes)["span.name"]: point.as_int
        for point in metrics["otel_memory.span.count"].sum.data_points
    }
    assert counts["keeps"] == 4


@pytest.mark.parametrize(
    "disabled", ["logging,otel_memory", "*", "flask, otel_memory, logging"]
)
def test_disabled_means_all_of_it(tmp_path, disabled):
    found, done = launch(
        cwd=tmp_path, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled, **CONSOLE
    )
    assert found == {"modules": [], "wrapped": False, "threads": []}
    spans = spans_of(done)
    assert len(spans) == 4
    for span in spans:
        assert not ours(span["attributes"])
    collections = [d for d in documents(done) if "resource_metrics" in d]
    assert "otel_memory" not in json.dumps(collections)
    assert done.stderr == ""


def test_the_sdks_own_switch_turns_it_off(tmp_path):
    found, done = launch(cwd=tmp_path, OTEL_SDK_DISABLED="true", **CONSOLE)
    assert not found["wrapped"]
    assert found["threads"] == []
    assert "otel_memory.heap._core" not in found["modules"]
    assert documents(done) == []
    assert done.stderr == ""


def test_our_variables_are_flags_that_collide_with_none():
    done = subprocess.run(
        [INSTRUMENT, "--help"],
        env=environment(COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, output(done)
    assert done.stderr == ""
    variables = [name for name in vars(config) if name.startswith("OTEL_")]
    assert len(variables) > 10
    for name in variables:
        flag = name.removeprefix("OTEL_PYTHON_").lower()
        assert done.stdout.count(f"[--{flag} ") == 1, flag


def test_a_flag_sets_what_its_variable_sets(tmp_path):
    _, done = launch(cwd=tmp_path, flags=("--memory_excluded_spans", "kee*"), **CONSOLE)
    assert not any(ours(span["attributes"]) for span in spans_of(done))
    assert done.stderr == ""


def test_beside_the_other_instrumentations(tmp_path):
    """With those for threads, asyncio, logging, the system, Flask and FastAPI."""
    found, done = launch(
        "web",
        cwd=tmp_path,
        traceback=True,  # of the one for logging
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="",
        **CONSOLE,
    )
    assert found["wrapped"]
    scopes = metrics_of(done)
    assert "opentelemetry.instrumentation.system_metrics" in scopes
    names = [name for scope in scopes.values() for name in scope]
    doubled = {name for name in names if names.count(name) > 1}
    assert not [name for name in doubled if name in scopes[semconv.SCOPE_NAME]]
    held = live(scopes[semconv.SCOPE_NAME]["otel_memory.span.heap.live"])
    entries = {entry for entry, _ in held}
    assert {"GET /basket/<item>", "GET /items/{item}", "keeps"} <= entries, entries
    assert held["GET /items/{item}", "keeps"] > 2.5 * KEPT_BYTES
    by_scope = {}
    for span in spans_of(done):
        assert ours(span["attributes"]) == ON_A_SPAN, span["name"]
        by_scope.setdefault(span["name"], 0)
        by_scope[span["name"]] += 1
    assert by_scope["GET /items/{item}"] == 5
    assert by_scope["GET /basket/<item>"] == 1
    assert by_scope["keeps"] == 10
    assert "otel-memory" not in done.stderr
    assert "otel_memory" not in done.stderr
    assert done.stderr.count("basket 7") <= 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PYTHON_MEMORY_LIMIT", "lots"),
        ("OTEL_PYTHON_MEMORY_HEAP", "nonsense"),
        ("OTEL_PYTHON_MEMORY_FUNCTIONS", "nowhere:function"),
        ("OTEL_PYTHON_MEMORY_FUNCTIONS", "__main__:keeps"),
        ("OTEL_PYTHON_MEMORY_INCLUDED_SPANS", "nowhere"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, variable, value):
    _, done = launch(cwd=tmp_path, **NONE, **{variable: value})
    (line,) = done.stderr.splitlines()
    assert variable in line
    assert value in line


def test_a_function_of_the_application_is_wrapped_by_name(tmp_path):
    (tmp_path / "warehouse.py").write_text("def stock():\n    return bytes(1000)\n")
    (tmp_path / "main.py").write_text("import warehouse\nwarehouse.stock()\n")
    done = subprocess.run(
        [INSTRUMENT, sys.executable, "main.py"],
        env=environment(**CONSOLE, OTEL_PYTHON_MEMORY_FUNCTIONS="warehouse:*"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, output(done)
    (span,) = spans_of(done)
    assert span["name"] == "stock"
    assert span["attributes"]["code.function.name"] == "warehouse.stock"
    assert ours(span["attributes"]) == ON_A_SPAN


CONFIGURATION = """
file_format: "1.0"
tracer_provider:
  processors:
    - simple:
        exporter:
          console: {{}}
meter_provider:
  readers:
    - periodic:
        interval: 3600000
        exporter:
          console: {{}}
instrumentation/development:
  python:
    otel_memory: {options}
"""


@pytest.fixture
def configured(tmp_path):
    def configured(options, **variables):
        path = tmp_path / "otel.yaml"
        path.write_text(CONFIGURATION.format(options=options))
        return launch(cwd=tmp_path, OTEL_CONFIG_FILE=str(path), **variables)

    return configured


def test_a_configuration_file_sets_options(configured):
    found, done = configured('{limit_bytes: "96MiB", max_span_names: 0}')
    assert found["wrapped"]
    for span in spans_of(done):
        assert ours(span["attributes"]) == ON_A_SPAN
    metrics = metrics_of(done)[semconv.SCOPE_NAME]
    assert [point["value"] for point in metrics["otel_memory.limit"]] == [96 * MIB]
    counts = {
        p["attributes"]["span.name"]: p["value"]
        for p in metrics["otel_memory.span.count"]
    }
    assert counts["(other)"] == 4
    assert "keeps" not in counts
    # opentelemetry-instrument calls instrument() a second time.
    assert done.stderr.splitlines()[1:] == [
        "Attempting to instrument while already instrumented"
    ], output(done)


def test_what_the_configuration_file_leaves_out_comes_from_the_environment(configured):
    _, done = configured(
        "{max_span_names: 50}",
        OTEL_PYTHON_MEMORY_LIMIT="96MiB",
        OTEL_PYTHON_MEMORY_EXCLUDED_SPANS="kee*",
    )
    assert not any(ours(span["attributes"]) for span in spans_of(done))
    metrics = metrics_of(done)[semconv.SCOPE_NAME]
    assert [point["value"] for point in metrics["otel_memory.limit"]] == [96 * MIB]


@pytest.mark.parametrize(
    ("options", "word"), [("{limit_bytes: lots}", "limit_bytes"), ("{odd: 1}", "odd")]
)
def test_a_wrong_option_in_the_configuration_file_is_said(configured, options, word):
    found, done = configured(
        options,
        traceback=True,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otel_memory,logging",
    )
    assert "Failed to instrument 'otel_memory'" in done.stderr  # the SDK says so
    assert word in done.stderr
    assert not found["wrapped"]
    assert len(spans_of(done)) == 4


def test_the_configuration_file_can_disable_it(configured):
    found, done = configured(
        "{enabled: false}", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otel_memory,logging"
    )
    assert found == {"modules": [], "wrapped": False, "threads": []}
    assert not any(ours(span["attributes"]) for span in spans_of(done))
