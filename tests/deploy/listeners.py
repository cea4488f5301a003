# SPDX-License-Identifier: Apache-2.0
"""Where things end: spans in place of a trace store, alerts in place of people."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from .servers import DEADLINE_SECONDS

_Found = TypeVar("_Found")


class Listener:
    """Takes what is posted to a port of the loopback, until the `with` block ends."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                with listener.news:
                    listener.take(self.path, body)
                    listener.news.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def take(self, path: str, body: bytes) -> None:
        """Keep what was posted; alone, under the lock of the news."""
        raise NotImplementedError

    def wait(
        self, find: Callable[[], _Found | None], missing: Callable[[], str]
    ) -> _Found:
        """Look again at each news until something is found.

        Args:
            find: Gives something true, or nothing yet.
            missing: What is said where it does not come.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self.news:
            while not (found := find()):
                left = deadline - time.monotonic()
                assert left > 0, missing()
                self.news.wait(left)
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Spans(Listener):
    """In the place of the trace store: takes OTLP as it would."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Span] = []

    def take(self, path: str, body: bytes) -> None:
        """Keep the spans of one request."""
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.taken += (
                    Span(
                        service,
                        each.name,
                        each.trace_id.hex(),
                        _values(each.attributes),
                    )
                    for each in scope.spans
                )

    def find(self, what: str, wanted: Callable[[Span], bool]) -> list[Span]:
        """Wait until there are spans of a kind."""
        return self.wait(
            lambda: [span for span in self.taken if wanted(span)],
            lambda: f"{what} is not among {len(self.taken)} spans",
        )


@dataclass(frozen=True)
class Span:
    """What of a span is looked at."""

    service: str
    name: str
    trace_id: str
    attributes: dict[str, Any]


def _values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value"))
        for each in attributes
    }


class Webhook(Listener):
    """Keeps what Alertmanager sends, by the receiver that it is sent to."""

    def __init__(self) -> None:
        super().__init__()
        self._said: list[tuple[str, dict[str, Any]]] = []

    def take(self, path: str, body: bytes) -> None:
        """Keep one message."""
        self._said.append((path.strip("/"), json.loads(body)))

    def told(
        self, receiver: str, title: str, job: str, status: str = "firing"
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait until a receiver is told of an alert; give the message and the alert."""
        return self.wait(
            lambda: self._find(receiver, title, job, status),
            lambda: f"{receiver} was never told of {title}: {self.all()}",
        )

    def all(self) -> list[tuple[str, str, str, str]]:
        """Name receiver, alert, job and status of all that was told."""
        return [
            (
                receiver,
                *(a["labels"].get(k, "") for k in ("alertname", "job")),
                a["status"],
            )
            for receiver, message in self._said
            for a in message["alerts"]
        ]

    def _find(
        self, receiver: str, title: str, job: str, status: str
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        for told, message in self._said:
            for alert in message["alerts"]:
                labels = alert["labels"]
                if (told, labels["alertname"], labels.get("job"), alert["status"]) == (
                    receiver,
                    title,
                    job,
                    status,
                ):
                    return message, alert
        return None
