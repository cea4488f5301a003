# SPDX-License-Identifier: Apache-2.0
"""The stack on the loopback: the committed files, with other addresses and less time.

In the copy of the rules minutes are seconds and hours are minutes, in windows, pending
times and intervals alike; thresholds, guards and all that is said stay as they are.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import servers
from .listeners import Webhook
from .servers import Api, Jaeger, Server, built, free_port, of_debian

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SHOP = ROOT / "examples/shop/main.py"
DRIVE = ROOT / "examples/drive.py"
EVERYTHING = Path(__file__).with_name("everything.py")
NAMESPACE = "demo"
JAEGER_LISTENING = r'"Query server started","http_addr":"([^"]+)"'
LOOK_BACK = "15s"  # of five minutes; a busy machine exports late
SCRAPE: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/scrape.yml").read_text())
SCRAPED_JOB: str = SCRAPE["scrape_configs"][0]["job_name"]
COLLECTOR_JOB = "otelcol"
_FASTER = {"m": (1, "s"), "h": (1, "m"), "d": (24, "m")}
_TIMES = ("expr", "for", "keep_firing_for", "interval")


def hurried(rules: Any) -> Any:
    """Make seconds of minutes and minutes of hours, wherever a rule has time."""

    def faster(found: re.Match[str]) -> str:
        factor, unit = _FASTER[found[2]]
        return f"{int(found[1]) * factor}{unit}"

    def write(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [{k: write(k, v) for k, v in each.items()} for each in value]
        if key in _TIMES:
            return re.sub(r"(?<![\w.])(\d+)([mhd])\b", faster, value)
        return value

    return {key: write(key, value) for key, value in rules.items()}


@dataclass(frozen=True)
class Pipeline:
    """What runs.

    Attributes:
        folder: Of logs and copies.
        webhook: Who is told.
        alertmanager: Its answers.
        prometheus: Its answers.
        server: Prometheus's process, to wait by.
        collector: The Collector's process.
        endpoint: Where processes send to.
        jaeger: Its answers; the Collector sends it the spans.
        scraped_port: Where Prometheus scrapes a process.
    """

    folder: Path
    webhook: Webhook
    alertmanager: Api
    prometheus: Api
    server: Server
    collector: Server
    endpoint: str
    jaeger: Jaeger
    scraped_port: int

    @contextmanager
    def process(
        self, name: str, *command: str | Path, **variables: str
    ) -> Iterator[Server]:
        """Start a service as a user does: by opentelemetry-instrument."""
        instrument = shutil.which(
            "opentelemetry-instrument", path=Path(sys.executable).parent
        )
        assert instrument
        environment = {
            "OTEL_SERVICE_NAME": name,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={NAMESPACE}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "OTEL_BLRP_SCHEDULE_DELAY": "500",
            "OTEL_PYTHON_MEMORY_INTERVAL": "1",
            # Where it is installed, it has more of the conventions' attributes.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "system_metrics",
            **variables,
        }
        log = self.folder / f"{name}.log"
        command = (instrument, sys.executable, *command)
        with Server(log, *command, environment=environment) as started:
            yield started


def open_shop(server: Server) -> int:
    """Wait until the shop is open; its port."""
    return int(server.find(r"The shop is open at http://127\.0\.0\.1:(\d+)/"))


def drive(port: int, requests: int, *mix: str, seed: int = 1) -> None:
    """Send requests as fast as they are answered; others with another seed."""
    command = (sys.executable, "-I", DRIVE, f"--port={port}", f"--requests={requests}")
    status, said = servers.run(*command, "--rate=0", f"--seed={seed}", *mix)
    assert status == 0, said


@contextmanager
def running(folder: Path) -> Iterator[Pipeline]:
    """Start all of it; end all of it."""
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        alertmanager = stack.enter_context(_alertmanager(folder, webhook.url))
        alerts_at = alertmanager.find(servers.LISTENING)
        scraped_port, own_port = free_port(), free_port()
        prometheus = stack.enter_context(
            _prometheus(folder, alerts_at, scraped_port, own_port)
        )
        metrics_at = prometheus.find(servers.LISTENING)
        spans_to = f"127.0.0.1:{free_port()}"
        jaeger = stack.enter_context(_jaeger(folder, spans_to))
        traces_at = jaeger.find(JAEGER_LISTENING)
        health = f"http://127.0.0.1:{free_port()}"
        receiver = f"127.0.0.1:{free_port()}"
        collector = stack.enter_context(
            _collector(folder, health, receiver, metrics_at, spans_to, own_port)
        )
        ready = ((prometheus, f"http://{metrics_at}/-/ready"), (collector, health))
        for server, url in ready:
            server.until(lambda url=url: servers.fetch(url), f"{url} answers")
        yield Pipeline(
            folder,
            webhook,
            Api(alerts_at),
            Api(metrics_at),
            prometheus,
            collector,
            f"http://{receiver}",
            Jaeger(traces_at),
            scraped_port,
        )


def _alertmanager(folder: Path, url: str) -> Server:
    content = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    for route in (content["route"], *content["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1h"}
    for receiver in content["receivers"]:
        address = f"{url}/{receiver['name']}"
        receiver["webhook_configs"] = [{"url": address, "send_resolved": True}]
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(content))
    return Server(
        folder / "alertmanager.log",
        of_debian("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    )


def _prometheus(
    folder: Path, alerts_at: str, scraped_port: int, own_port: int
) -> Server:
    content = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [alerts_at]}
    ]
    ports = {SCRAPED_JOB: scraped_port, COLLECTOR_JOB: own_port}
    content["scrape_configs"] = [
        job | {"static_configs": [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]}
        for job in (*content["scrape_configs"], *SCRAPE["scrape_configs"])
        if job["job_name"] in ports
    ]
    (name,) = content["rule_files"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / name).read_text())
    faster = {"groups": [hurried(group) for group in rules["groups"]]}
    (folder / name).write_text(yaml.safe_dump(faster, width=10**9))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    return Server(
        folder / "prometheus.log",
        built("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        "--web.listen-address=127.0.0.1:0",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
        f"--query.lookback-delta={LOOK_BACK}",
    )


def _jaeger(folder: Path, receiver: str) -> Server:
    """Run it in the place of Tempo: it takes the same, and comes as a Go module."""
    anywhere = (
        "admin.http",
        "collector.grpc-server",
        "collector.http-server",
        "collector.otlp.grpc",
        "query.grpc-server",
        "query.http-server",
    )
    return Server(
        folder / "jaeger.log",
        built("jaeger"),
        f"--collector.otlp.http.host-port={receiver}",
        *(f"--{each}.host-port=127.0.0.1:0" for each in anywhere),
        # Of itself; they would go to whoever has OTLP's own port.
        environment={"OTEL_TRACES_SAMPLER": "always_off"},
    )


def _collector(
    folder: Path,
    health: str,
    receiver: str,
    metrics_at: str,
    spans_to: str,
    own_port: int,
) -> Server:
    """Run the committed file; a second one has other addresses and nothing else."""
    others = {
        "extensions": {"health_check": {"endpoint": health.removeprefix("http://")}},
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
                    "http": {"endpoint": receiver},
                }
            }
        },
        "exporters": {
            "otlp_http/tempo": {"endpoint": f"http://{spans_to}"},
            "otlp_http/prometheus": {"endpoint": f"http://{metrics_at}/api/v1/otlp"},
        },
        "service": {
            "telemetry": {"metrics": {"readers": [_reader(own_port)]}},
        },
    }
    path = folder / "otelcol.yaml"
    path.write_text(yaml.safe_dump(others))
    return Server(
        folder / "otelcol.log",
        built("otelcol"),
        f"--config={DEPLOY / 'otelcol/config.yaml'}",
        f"--config={path}",
    )


@contextmanager
def victoriametrics(folder: Path) -> Iterator[Api]:
    """Start the other store, as the head of its relabelling says."""
    address = f"127.0.0.1:{free_port()}"
    with Server(
        folder / "victoriametrics.log",
        built("victoria-metrics"),
        f"-httpListenAddr={address}",
        f"-storageDataPath={folder / 'victoriametrics'}",
        "-opentelemetry.usePrometheusNaming",
        f"-relabelConfig={DEPLOY / 'victoriametrics/relabel.yml'}",
        "-search.latencyOffset=0s",  # or what is new is not seen for half a minute
    ) as server:
        url = f"http://{address}/health"
        server.until(lambda: servers.fetch(url), f"{url} answers")
        yield Api(address)


def _reader(port: int) -> dict[str, Any]:
    return {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": port}}}}
