# SPDX-License-Identifier: Apache-2.0
"""Send a seeded mix of GET requests to a server on this machine.

Both examples start this file as a plain process of its own (standard library
only, never instrumented), so that the memory of the client is not the server's.
A mix is a list of ``"WEIGHT PATH"``; ``{1-5000}`` in a path stands for a whole
number of that range, drawn anew for each request. The same seed sends the same
requests; how those of different threads overlap is up to the machine.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how much is sent, for the examples' own command lines too."""
    parser.add_argument("--requests", type=int, default=400, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument(
        "--rate",
        type=float,
        default=50,
        help="requests per second; 0: as fast as the server answers",
    )


def command(options: argparse.Namespace, port: int, mix: Sequence[str]) -> list[str]:
    """Return the command that drives the server at ``port``.

    ``-I -S`` keep ``PYTHONPATH`` and ``sitecustomize`` out, and with them
    ``opentelemetry-instrument``, which instruments every Python it is parent of.
    """
    names = ("requests", "seed", "threads", "rate")
    flags = [f"--{name}={getattr(options, name)}" for name in names]
    return [sys.executable, "-I", "-S", __file__, f"--port={port}", *flags, *mix]


def paths(mix: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """Yield ``count`` paths drawn from ``mix``."""
    lines = [line.split(maxsplit=1) for line in mix]
    weights = [float(weight) for weight, _ in lines]
    templates = [template for _, template in lines]
    draw = random.Random(seed)

    def number(bounds: re.Match[str]) -> str:
        return str(draw.randint(int(bounds[1]), int(bounds[2])))

    for _ in range(count):
        template = draw.choices(templates, weights)[0]
        yield re.sub(r"\{(\d+)-(\d+)\}", number, template)


class Driver:
    """Threads that take the next path, wait until it is due, and ask for it."""

    def __init__(self, port: int, requests: Iterator[str], rate: float) -> None:
        self._port = port
        self._requests = enumerate(requests)
        self._seconds_apart = 1 / rate if rate else 0.0
        self._lock = threading.Lock()  # guards the iterator and both counts
        self._start = time.monotonic()
        self.sent = 0
        self.failed = 0

    def run(self, threads: int) -> None:
        """Send every request; return when the last one is answered."""
        workers = [threading.Thread(target=self._work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                number, path = next(self._requests, (-1, ""))
            if not path:
                return
            due = self._start + number * self._seconds_apart
            time.sleep(max(0.0, due - time.monotonic()))
            answered = self._get(path)
            with self._lock:
                self.sent += 1
                self.failed += not answered

    def _get(self, path: str) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status == http.HTTPStatus.OK
        except ConnectionRefusedError:  # nobody listens any more: send no other
            self._requests = enumerate(())
            return False
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def main() -> int:
    """Send the requests; 1 when one of them was not answered with 200."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    add_arguments(parser)
    parser.add_argument("mix", nargs="+", metavar="'WEIGHT PATH'")
    options = parser.parse_args()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server is told, and ends us
    requests = paths(options.mix, options.requests, options.seed)
    driver = Driver(options.port, requests, options.rate)
    started = time.monotonic()
    driver.run(options.threads)
    seconds = time.monotonic() - started
    print(f"{driver.sent} requests in {seconds:.1f} s, {driver.failed} failed")
    return 1 if driver.failed else 0


if __name__ == "__main__":
    sys.exit(main())
