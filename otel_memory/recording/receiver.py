# SPDX-License-Identifier: Apache-2.0
"""A small OTLP/HTTP receiver on the loopback interface.

It serves one run: whoever lacks the run's token is turned away before a body is
read. It outlives every request: broken ones are answered, slow ones are cut off.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from otel_memory.recording.decode import (
    CONTENT_TYPES,
    JSON,
    BadRequestError,
    decode,
    decompress,
)
from otel_memory.recording.otlp import Json, stamp_pid

PID_HEADER = "otel-memory-pid"
BODY_LIMIT_BYTES = 32 * 1024**2
"""Largest body as sent."""
DECOMPRESSED_LIMIT_BYTES = 64 * 1024**2
"""Largest body after decompression; the SDK's exporters stop at the same size."""

_SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_CONNECTION_SECONDS_MAX = 10.0
_CONNECTIONS_MAX = 128
_LINGER_SECONDS = 1.0
_CHUNK_BYTES = 1 << 16

Sink = Callable[[str, Json], None]
"""Takes a signal and one request as OTLP JSON; called on the receiver's threads."""


class Receiver:
    """Receives OTLP/HTTP while it is open, and hands requests to a sink.

    Args:
        sink: What to call with every request. When it raises, the client is told
            that the receiver is not available, and the receiver goes on.
        connection_seconds: After this time a connection is cut off.
        connections: With more at once the oldest is cut off.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        connection_seconds: float = _CONNECTION_SECONDS_MAX,
        connections: int = _CONNECTIONS_MAX,
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self._server = _Server(sink, self.token, connection_seconds, connections)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="otel-memory receiver",
            daemon=True,
        )

    @property
    def endpoint(self) -> str:
        """The base URL, to which `/v1/traces` and its like are added."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and wait for the requests under way."""
        self._server.shutdown()
        self._thread.join()
        self._server.finish()


class _Server(ThreadingHTTPServer):
    # One thread a connection; they end with the process, whatever clients do.
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, sink: Sink, token: str, connection_seconds: float, connections: int
    ) -> None:
        self.sink = sink
        self.expected = f"Bearer {token}".encode()
        self._connection_seconds = connection_seconds
        self._connections_max = connections
        self._lock = threading.Lock()
        # Protected by the lock. Oldest first: dicts keep the order of insertion.
        self._open: dict[socket.socket, float] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = time.monotonic()
            # Ours take milliseconds, so the oldest is the one that hangs.
            excess = list(self._open)[: -self._connections_max]
        for connection in excess:
            self._cut(connection)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off slow clients; the server's loop calls this many times a second.

        A socket's timeout is not enough: a client may send a byte now and then.
        """
        oldest = time.monotonic() - self._connection_seconds
        with self._lock:
            overdue = [each for each, since in self._open.items() if since < oldest]
        for connection in overdue:
            self._cut(connection)

    def _cut(self, connection: socket.socket) -> None:
        with self._lock:
            if self._open.pop(connection, None) is None:
                return  # Done meanwhile, and perhaps closed.
        with suppress(OSError):  # The client may have gone.
            connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Close the listening socket and wait a little for requests under way."""
        deadline = time.monotonic() + _LINGER_SECONDS
        while self._open and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            left = list(self._open)
        for connection in left:
            self._cut(connection)
        self.socket.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that vanishes is no news for the user."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "otel-memory"
    sys_version = ""
    timeout = 5.0

    def _answer(self) -> None:
        try:
            content_type, body = self._receive()
        except BadRequestError as error:
            self._reply(error.status, "text/plain", error.reason.encode())
            self._linger()
        else:
            self._reply(HTTPStatus.OK, content_type, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _receive(self) -> tuple[str, bytes]:
        authorization = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(authorization, self.server.expected):
            raise BadRequestError(HTTPStatus.UNAUTHORIZED, "the run's token is missing")
        signal = _SIGNALS.get(self.path)
        if signal is None:
            raise BadRequestError(HTTPStatus.NOT_FOUND, "no such path")
        if self.command != "POST":
            raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED, "use POST")
        content_type = self.headers.get_content_type()
        if content_type not in CONTENT_TYPES:
            raise BadRequestError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type is not OTLP"
            )
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        plain = decompress(self._body(), encoding, DECOMPRESSED_LIMIT_BYTES)
        line = decode(signal, plain, content_type)
        pid = self.headers.get(PID_HEADER, "")
        if pid.isascii() and pid.isdecimal() and len(pid) <= 10:
            stamp_pid(line, int(pid))
        if line:
            self._hand_on(signal, line)
        return content_type, b"{}" if content_type == JSON else b""

    def _hand_on(self, signal: str, line: Json) -> None:
        try:
            self.server.sink(signal, line)
        except Exception:  # noqa: BLE001 - whatever it is, the receiver goes on
            raise BadRequestError(
                HTTPStatus.SERVICE_UNAVAILABLE, "cannot be recorded"
            ) from None

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise BadRequestError(HTTPStatus.LENGTH_REQUIRED, "content length needed")
        if len(length) > 18 or int(length) > BODY_LIMIT_BYTES:
            raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise BadRequestError(HTTPStatus.BAD_REQUEST, "the body is cut short")
        return body

    def _reply(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def _linger(self) -> None:
        """Read on for a moment, so that the answer arrives.

        Closing a socket with unread data makes the kernel reset the connection, and
        a client that is still sending would never see what was wrong.
        """
        deadline = time.monotonic() + _LINGER_SECONDS
        with suppress(OSError):  # The client may have gone.
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while time.monotonic() < deadline and self.connection.recv(_CHUNK_BYTES):
                pass

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to the application."""
