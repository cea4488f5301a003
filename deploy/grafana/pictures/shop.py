# SPDX-License-Identifier: Apache-2.0
"""Run three processes of examples/shop under traffic, and Prometheus to hear them.

Each is launched as a user does it, by `opentelemetry-instrument`, and sends OTLP to
Prometheus itself. Two serve all that the shop has, one of them three times as often;
the third one serves reports and never `/recommend`, whose cache leaks. The rate is such
that the busiest takes `FULL` of its limit at the end, however long it runs: the limit
is a configured one, for nothing shall be killed here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
RULES = ROOT / "deploy/prometheus/otel-memory.rules.yml"
HOST = "127.0.0.1"
MIB = 1 << 20
DEADLINE_SECONDS = 120
FULL = 0.97
LIMIT_BYTES = 1024 * MIB
AT_START_BYTES = 100 * MIB
# 62 of 100 requests keep 1,250 products, as the example's page says.
KEPT_BYTES_PER_REQUEST = 0.62 * 340 * 1024

CONFIGURATION = f"""\
global: {{evaluation_interval: 15s}}
storage: {{exemplars: {{max_exemplars: 100000}}}}
rule_files: ["{RULES}"]
"""


@dataclass(frozen=True)
class Process:
    """One process of the shop.

    Attributes:
        service: Its `service.name`.
        instance: Its `service.instance.id`.
        share: Of the busiest one's requests.
        mix: What is asked of it, as `examples/drive.py` has it; none: all.
    """

    service: str
    instance: str
    share: float
    mix: Sequence[str] = ()


PROCESSES = (
    Process("web", "web-1", 1),
    Process("web", "web-2", 1 / 3),
    Process(
        "reports",
        "reports-1",
        1 / 2,
        ("6 /reports/sales", "3 /search?q=brass", "3 /search?q=linen", "8 /"),
    ),
)


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run a Prometheus that takes OTLP and evaluates our rules; give its address."""
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION)
    port = _free_port()
    command = [
        _program("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with _running(command):
        url = f"http://{HOST}:{port}"
        _wait(f"{url}/-/ready")
        yield url


@contextmanager
def shop(url: str, minutes: float) -> Iterator[None]:
    """Run the shop's processes and their drivers, which end after that long."""
    grows_bytes = FULL * LIMIT_BYTES - AT_START_BYTES
    busiest = grows_bytes / KEPT_BYTES_PER_REQUEST / (60 * minutes)
    with ExitStack() as stack:
        for seed, process in enumerate(PROCESSES, 1):
            port = _free_port()
            command = [_program("opentelemetry-instrument"), sys.executable]
            command += [str(EXAMPLES / "shop/main.py"), "--serve", f"--port={port}"]
            stack.enter_context(_running(command, _environment(process, url)))
            _wait(f"http://{HOST}:{port}/")
            rate = busiest * process.share
            command = [sys.executable, "-I", "-S", str(EXAMPLES / "drive.py")]
            command += [f"--port={port}", f"--seed={seed}", f"--rate={rate}"]
            command += [f"--requests={int(rate * 60 * minutes)}", "--threads=4"]
            stack.enter_context(_running([*command, *(process.mix or whole_mix())]))
        yield


def _environment(process: Process, url: str) -> dict[str, str]:
    instance = f"service.instance.id={process.instance}"
    return os.environ | {
        "OTEL_SERVICE_NAME": process.service,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace=shop,{instance}",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/api/v1/otlp/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_TRACES_EXPORTER": "none",  # spans are sampled all the same
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_MEMORY_LIMIT": f"{LIMIT_BYTES // MIB}MiB",
    }


def whole_mix() -> list[str]:
    """Read the example's own mix: its module cannot be imported from here."""
    source = (EXAMPLES / "shop/main.py").read_text()
    mix = re.search(r"^MIX = \((.*?)^\)", source, re.MULTILINE | re.DOTALL)
    assert mix
    return re.findall(r'"(.*?)"', mix[1])


@contextmanager
def _running(
    command: Sequence[str], environment: dict[str, str] | None = None
) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_SECONDS)


def _program(name: str) -> str:
    """Find a program, first beside this Python."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if not found:
        raise FileNotFoundError(f"{name} is not on the path")
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def _wait(url: str) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
