# SPDX-License-Identifier: Apache-2.0
"""Who is told: a webhook in the place of people."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from .servers import DEADLINE_SECONDS


class Webhook:
    """Keeps what Alertmanager sends, by the receiver that it is sent to.

    It takes what is posted to a port of the loopback, until the `with` block ends.
    """

    def __init__(self) -> None:
        self._said: list[tuple[str, dict[str, Any]]] = []
        self._news = threading.Condition()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with webhook._news:
                    webhook._said.append((self.path.strip("/"), json.loads(body)))
                    webhook._news.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def told(
        self, receiver: str, title: str, job: str, status: str = "firing"
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait until a receiver is told of an alert; give the message and the alert."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._news:
            while not (found := self._find(receiver, title, job, status)):
                left = deadline - time.monotonic()
                assert left > 0, f"{receiver} was never told of {title}: {self.all()}"
                self._news.wait(left)
        return found

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
