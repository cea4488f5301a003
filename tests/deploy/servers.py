# SPDX-License-Identifier: Apache-2.0
"""Real servers on the loopback, started by a test and gone with it.

What is built from Go modules lies in the folder that `OTEL_MEMORY_STACK` names, what
Debian has on the path. Nothing is left out: what is missing is named with the command
that makes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

VARIABLE = "OTEL_MEMORY_STACK"
# Read at once: tests run without OpenTelemetry's variables, and ours begins as theirs.
FOLDER = os.environ.get(VARIABLE, "")
BUILD = Path(__file__).parent / "stack/build.sh"
DEADLINE_SECONDS = 120
END_SECONDS = 30
_Found = TypeVar("_Found")
# No proxy of whoever runs the tests.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def built(name: str) -> str:
    """Find what `build.sh` builds."""
    path = Path(FOLDER or "/nowhere", name)
    assert path.is_file(), (
        f"no {name} in {VARIABLE}={FOLDER!r}: sh {BUILD} FOLDER makes it"
    )
    return str(path)


def of_debian(name: str, package: str) -> str:
    """Find what a Debian package has."""
    # Not this folder's own, which another test may have put on the path.
    found = shutil.which(name, path="/usr/bin")
    assert found, (
        f"{name} is missing: apt-get install --no-install-recommends {package}"
    )
    return found


def run(*command: str | Path) -> tuple[int, str]:
    """Run a tool to its end; give its exit status and all that it said."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def free_port() -> int:
    """Choose a port of the loopback that nobody has now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a port of the loopback for a server that is started meanwhile.

    Nobody else is given it. The server, which names it, gets it: both allow that an
    address is used again, and this socket does not listen.
    """
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(("127.0.0.1", 0))
        yield int(holding.getsockname()[1])


def fetch(url: str, data: bytes | None = None, **arguments: str) -> str:
    """Ask by HTTP; the text of the answer."""
    if arguments:
        url = f"{url}?{urllib.parse.urlencode(arguments)}"
    with _OPENER.open(url, data, timeout=30) as answer:
        return str(answer.read().decode())


def answer(
    url: str, data: bytes | None = None, **headers: str
) -> tuple[int, Mapping[str, str]]:
    """Ask by HTTP; the status of the answer, whatever it is, and its headers."""
    asked = urllib.request.Request(
        url, data, {k.replace("_", "-"): v for k, v in headers.items()}
    )
    try:
        with _OPENER.open(asked, timeout=30) as answered:
            return answered.status, answered.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers


class Server:
    """A process that logs to a file, and is ended with the `with` block.

    Args:
        log: Where its output goes.
        command: The command line.
        environment: Added to this process's, without OpenTelemetry's variables.
    """

    def __init__(
        self,
        log: Path,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**kept, **(environment or {})},
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, the hard way where it does not listen."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def until(
        self, ask: Callable[[], _Found | None], what: str | Callable[[], str]
    ) -> _Found:
        """Ask again and again, as long as the server runs, until there is an answer.

        Args:
            ask: Gives something true, or nothing yet. Nobody there is nothing yet.
            what: Said where it does not come.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            try:
                if found := ask():
                    return found
            except urllib.error.URLError:
                pass
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"it ended before:\n{self._said()}")
        wanted = what if isinstance(what, str) else what()
        raise AssertionError(f"not within {DEADLINE_SECONDS} s: {wanted}")

    def find(self, pattern: str) -> str:
        """Wait for a line of its log; give the pattern's group."""

        def look() -> str | None:
            found = re.search(pattern, self.log.read_text())
            return found[1] if found else None

        return self.until(look, f"its log has {pattern}")

    def _said(self) -> str:
        return self.log.read_text()[-4000:]


LISTENING = r'msg="?Listening on"? .*address=(127\.0\.0\.1:\d+)'


class Api:
    """What a server answers: Prometheus, Alertmanager, Jaeger.

    Args:
        address: Host and port.
    """

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    def get(self, way: str, **arguments: str) -> Any:
        """Ask; the answer from JSON."""
        return json.loads(fetch(f"{self.url}{way}", **arguments))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus for the series of an expression now."""
        answer = self.get("/api/v1/query", query=expression)
        assert answer["status"] == "success"
        return list(answer["data"]["result"])

    def value(self, expression: str) -> float | None:
        """Give the value of an expression that has one series, or none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


class Tag(NamedTuple):
    """What a span has by some name: its type in Jaeger's words, and the value."""

    type: str
    value: Any


@dataclass(frozen=True)
class Span:
    """What is looked at of a span that Jaeger keeps."""

    service: str
    name: str
    trace_id: str
    tags: dict[str, Tag]


class Jaeger(Api):
    """What Jaeger answers about the spans that it keeps."""

    def find(self, service: str, name: str = "", **tags: str) -> list[Span]:
        """Search for traces as a person does; give all of their spans.

        Args:
            service: A span of the trace is this service's,
            name: has this name, or any,
            **tags: and these values, exactly.
        """
        asked = {"service": service, "limit": "1500", "tags": json.dumps(tags)}
        if name:
            asked["operation"] = name
        return self._spans("/api/traces", **asked)

    def trace(self, trace_id: str) -> list[Span]:
        """Open a trace that is known by its id."""
        return self._spans(f"/api/traces/{trace_id}")

    def _spans(self, way: str, **asked: str) -> list[Span]:
        return [
            Span(
                trace["processes"][each["processID"]]["serviceName"],
                each["operationName"],
                each["traceID"],
                {tag["key"]: Tag(tag["type"], tag["value"]) for tag in each["tags"]},
            )
            for trace in self.get(way, **asked)["data"]
            for each in trace["spans"]
        ]
