# SPDX-License-Identifier: Apache-2.0
"""A server for Pyroscope's agent, which shows its samples to nobody else."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Receives what Pyroscope's agent sends, on the loopback."""

    def __init__(self) -> None:
        received: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                received.append(self.rfile.read(length))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._received = received
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def take_samples(self) -> int:
        """Count the samples of all profiles since the last call."""
        bodies = self._received[:]
        self._received.clear()
        return sum(map(_samples, bodies))


def _samples(body: bytes) -> int:
    # PushRequest.series -> RawProfileSeries.samples -> RawSample.raw_profile, which
    # is a pprof Profile, whose second field are the samples.
    return sum(
        number == 2
        for series in _messages(_unpacked(body), 1)
        for sample in _messages(series, 2)
        for profile in _messages(sample, 1)
        for number, _ in _fields(_unpacked(profile))
    )


def _unpacked(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    return (value for number, value in _fields(data) if number == wanted)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk over a protobuf message; numbers come without a value."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        number, kind = divmod(varint(), 8)
        start = position
        if kind == 0:
            varint()
            yield number, b""
            continue
        length = {1: 8, 5: 4}.get(kind) or varint()
        start, position = position, position + length
        yield number, data[start:position]
