# SPDX-License-Identifier: Apache-2.0
"""The receiver takes what real exporters send, and survives everything else."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import time
import zlib
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_memory.recording import receiver as module
from otel_memory.recording.otlp import points
from otel_memory.recording.receiver import Receiver

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
EMPTY_REQUEST = b""
# One resource without content: the smallest request that says anything.
REQUEST = b"\x0a\x00"


class Sink:
    def __init__(self):
        self.lines = []

    def __call__(self, signal, line):
        self.lines.append((signal, line))


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def receiver(sink):
    with Receiver(sink) as opened:
        yield opened


def request(receiver, method="POST", path="/v1/traces", body=REQUEST, **headers):
    sent = {
        "Authorization": f"Bearer {receiver.token}",
        "Content-Type": PROTOBUF,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = http.client.HTTPConnection(
        urlsplit(receiver.endpoint).netloc, timeout=20
    )
    try:
        present = {name: value for name, value in sent.items() if value is not None}
        connection.request(method, path, body, present)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def alive(receiver):
    return request(receiver)[0] == 200


def headers(receiver, pid=None):
    wanted = {"Authorization": f"Bearer {receiver.token}"}
    return {**wanted, "otel-memory-pid": str(pid)} if pid else wanted


@pytest.mark.parametrize("compression", list(Compression))
def test_a_real_span_arrives_as_the_collector_would_write_it(
    receiver, sink, compression
):
    exporter = OTLPSpanExporter(
        f"{receiver.endpoint}/v1/traces",
        headers=headers(receiver, pid=4711),
        compression=compression,
    )
    provider = TracerProvider(resource=Resource({"process.pid": 1, "a": "b"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    start = provider.get_tracer("t").start_as_current_span
    with start("parent") as parent, start("child") as child:
        child.set_attribute("bytes", 2**40)
    context = child.get_span_context()
    signal, line = sink.lines[0]
    assert signal == "traces"
    (resource_spans,) = line["resourceSpans"]
    attributes = resource_spans["resource"]["attributes"]
    assert {"key": "process.pid", "value": {"intValue": "4711"}} in attributes
    assert [each["key"] for each in attributes].count("process.pid") == 1
    span = resource_spans["scopeSpans"][0]["spans"][0]
    assert span["traceId"] == f"{context.trace_id:032x}"
    assert span["spanId"] == f"{context.span_id:016x}"
    assert span["parentSpanId"] == f"{parent.get_span_context().span_id:016x}"
    assert span["kind"] == 1
    assert span["attributes"] == [{"key": "bytes", "value": {"intValue": str(2**40)}}]
    assert json.loads(json.dumps(line)) == line


def test_real_metrics_arrive(receiver, sink):
    exporter = OTLPMetricExporter(
        f"{receiver.endpoint}/v1/metrics", headers=headers(receiver, pid=12)
    )
    reader = PeriodicExportingMetricReader(
        exporter, export_interval_millis=float("inf")
    )
    provider = MeterProvider([reader])
    provider.get_meter("m").create_up_down_counter("zero").add(0, {"k": "v"})
    provider.force_flush()
    provider.shutdown()
    (point,) = points(sink.lines[0][1])
    assert (point.metric, point.value, point.pid) == ("zero", 0, 12)
    assert point.attributes == {"k": "v"}


def test_json_arrives_like_protobuf(receiver, sink):
    span = {"traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "b7ad6b7169203331"}
    scope = {"spans": [{**span, "name": "n", "unknownField": 1}]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [scope]}]})
    status, answer = request(receiver, body=body, Content_Type=f"{JSON}; charset=utf-8")
    assert (status, answer) == (200, b"{}")
    received = sink.lines[0][1]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert received["traceId"] == span["traceId"].lower()
    assert received["spanId"] == span["spanId"]
    assert received["name"] == "n"


def test_an_empty_request_is_fine_and_no_line(receiver, sink):
    assert request(receiver, body=EMPTY_REQUEST) == (200, b"")
    assert sink.lines == []


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        (401, {"Authorization": None}),
        (401, {"Authorization": "Bearer wrong"}),
        (401, {"Authorization": "Bearer w\xf6rong"}),
        (401, {"Authorization": None, "path": "/"}),
        (404, {"path": "/"}),
        (404, {"path": "/v1/profiles"}),
        (404, {"path": "/v1/traces/../logs"}),
        (405, {"method": "GET"}),
        (405, {"method": "PUT"}),
        (405, {"method": "DELETE"}),
        (415, {"Content_Type": None}),
        (415, {"Content_Type": "text/plain"}),
        (415, {"Content_Encoding": "br"}),
        (400, {"body": b"\xff" * 100}),
        (400, {"body": b"not protobuf"}),
        (400, {"body": b"{", "Content_Type": JSON}),
        (400, {"body": b"\xff\xfe", "Content_Type": JSON}),
        (400, {"body": b"[]", "Content_Type": JSON}),
        (400, {"body": b"null", "Content_Type": JSON}),
        (400, {"body": b"[" * 1_000_000, "Content_Type": JSON}),
        (400, {"body": b'{"a":' * 50_000, "Content_Type": JSON}),
        (400, {"body": b'{"resourceSpans": 3}', "Content_Type": JSON}),
        (400, {"body": b'{"resourceSpans": [3]}', "Content_Type": JSON}),
        (400, {"body": b"garbage", "Content_Encoding": "gzip"}),
        (
            400,
            {"body": gzip.compress(os.urandom(9999))[:-20], "Content_Encoding": "gzip"},
        ),
        (400, {"body": zlib.compress(b"\xff" * 99), "Content_Encoding": "deflate"}),
        (411, {"body": iter([REQUEST]), "Transfer_Encoding": "chunked"}),
        (413, {"body": b"", "Content_Length": str(10**9)}),
        (413, {"body": b"", "Content_Length": "9" * 400}),
        (411, {"body": b"", "Content_Length": "-1"}),
        (411, {"body": b"", "Content_Length": "1e3"}),
    ],
)
def test_a_bad_request_is_answered_and_survived(receiver, sink, expected, changes):
    assert request(receiver, **changes)[0] == expected
    assert sink.lines == []
    assert alive(receiver)


def test_bad_ids_in_json_are_bad_requests(receiver):
    scope = {"spans": [{"traceId": "not hexadecimal"}]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [scope]}]})
    assert request(receiver, body=body, Content_Type=JSON)[0] == 400


def test_a_body_too_large_as_sent_is_refused_while_it_is_sent(receiver, monkeypatch):
    # The client hears of it once it has sent all, however long that takes here.
    monkeypatch.setattr(module, "_LINGER_SECONDS", 60.0)
    body = b"\x00" * (module.BODY_LIMIT_BYTES + 1)
    assert request(receiver, body=body)[0] == 413
    assert alive(receiver)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_without_being_unpacked(receiver, encoding):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    bomb = pack(b"\x00" * (module.DECOMPRESSED_LIMIT_BYTES + 1))
    assert len(bomb) < 100_000
    assert request(receiver, body=bomb, Content_Encoding=encoding)[0] == 413
    assert alive(receiver)


@pytest.mark.parametrize("pid", ["", "x", "-1", "1" * 11, "\xb2", "1 2"])
def test_a_pid_that_is_none_is_not_written(receiver, sink, pid):
    assert request(receiver, otel_memory_pid=pid)[0] == 200
    assert "process.pid" not in str(sink.lines)


def test_a_sink_that_fails_is_survived():
    def failing(signal, line):
        raise OSError("disk full")

    with Receiver(failing) as receiver:
        assert request(receiver)[0] == 503
        assert request(receiver)[0] == 503


def connect(receiver):
    return socket.create_connection(urlsplit(receiver.endpoint).netloc.split(":"), 20)


def is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


HEAD = "POST /v1/traces HTTP/1.1\r\nAuthorization: Bearer {}\r\n"


def test_a_client_that_goes_away_is_survived(receiver):
    full = HEAD.format(receiver.token) + f"Content-Type: {PROTOBUF}\r\n"
    for start in (
        "",
        "\x00\x01\r\n\r\n",
        "GET",
        full,
        full + "Content-Length: 9\r\n\r\nab",
    ):
        with connect(receiver) as connection:
            connection.sendall(start.encode())
    assert alive(receiver)


def test_a_cut_body_is_no_line(receiver, sink):
    head = HEAD.format(receiver.token) + f"Content-Type: {PROTOBUF}\r\n"
    with connect(receiver) as connection:
        connection.sendall(f"{head}Content-Length: 9\r\n\r\n".encode() + REQUEST)
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1000)
    assert sink.lines == []


def test_more_hanging_clients_than_there_is_room_for_do_not_block(sink):
    with Receiver(sink, connections=8) as receiver, ExitStack() as stack:
        hanging = [stack.enter_context(connect(receiver)) for _ in range(100)]
        assert alive(receiver)
        # The oldest were cut off to make room.
        assert is_closed(hanging[0])


def test_a_client_that_drips_is_cut_off_in_time(sink):
    with Receiver(sink, connection_seconds=0.3) as receiver:
        with connect(receiver) as connection:
            connection.settimeout(0.05)
            deadline = time.monotonic() + 20
            closed = False
            while not closed and time.monotonic() < deadline:
                try:
                    connection.sendall(b"X")  # Never a whole line, never silent.
                    closed = connection.recv(1) == b""
                except TimeoutError:
                    pass
                except OSError:
                    closed = True
            assert closed
        receiver._server._connection_seconds = 20.0  # a good client, on a busy machine
        assert alive(receiver)


def test_closing_does_not_wait_for_hanging_clients(sink):
    receiver = Receiver(sink)
    with receiver, connect(receiver) as connection:
        started = time.monotonic()
        receiver.close()
        assert time.monotonic() - started < 5
        assert is_closed(connection)


def test_it_listens_on_the_loopback_interface_only(receiver):
    assert receiver._server.server_address[0] == "127.0.0.1"


def test_every_run_has_a_token_of_its_own(sink):
    tokens = set()
    for _ in range(3):
        with Receiver(sink) as receiver:
            tokens.add(receiver.token)
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 40
