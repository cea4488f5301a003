# SPDX-License-Identifier: Apache-2.0
"""The stack's servers one by one: the committed files, other addresses and less time.

In the copy of the rules minutes are seconds and hours are minutes, in windows, pending
times and intervals alike; thresholds, guards and all that is said stay as they are.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from . import servers
from .servers import Api, Server, built, free_port, of_debian
from .stack_files import (
    ALERTMANAGER,
    COLLECTOR,
    PROMETHEUS,
    RELABEL,
    ROOT,
    SCRAPE,
    SERVICES,
    read,
)

SHOP = ROOT / "examples/shop/main.py"
DRIVE = ROOT / "examples/drive.py"
EVERYTHING = Path(__file__).with_name("everything.py")
LEAKING = "/recommend?session={1-4000000000}"
NAMESPACE = "demo"
SCRAPED_JOB: str = read(SCRAPE)["scrape_configs"][0]["job_name"]
JAEGER_LISTENING = r'"Query server started","http_addr":"([^"]+)"'
LOOK_BACK = "15s"  # of five minutes; a busy machine exports late
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


@contextmanager
def process(
    folder: Path, name: str, *command: str | Path, **variables: str
) -> Iterator[Server]:
    """Start a service as a user does: by opentelemetry-instrument."""
    instrument = shutil.which(
        "opentelemetry-instrument", path=Path(sys.executable).parent
    )
    assert instrument
    environment = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={NAMESPACE}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_PYTHON_MEMORY_INTERVAL": "1",
        # Where it is installed, it has more of the conventions' attributes.
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "system_metrics",
        **variables,
    }
    log = folder / f"{name}.log"
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


def alertmanager(folder: Path, webhook: str) -> Server:
    """Start Debian's Alertmanager, which tells a webhook by its receivers' names."""
    content = read(ALERTMANAGER)
    for route in (content["route"], *content["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1h"}
    for receiver in content["receivers"]:
        address = f"{webhook}/{receiver['name']}"
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


def prometheus(
    folder: Path,
    program: str,
    content: dict[str, Any],
    alerts_at: str,
    ports: Mapping[str, int],
    *flags: str,
) -> Server:
    """Start a Prometheus with the committed rules.

    Args:
        folder: Of its log, data and copies.
        program: Of some version.
        content: Its file.
        alerts_at: Where Alertmanager is.
        ports: Of jobs, by name; others are left out.
        *flags: What this version needs.
    """
    jobs = [
        job | {"static_configs": [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]}
        for job in content["scrape_configs"]
        if job["job_name"] in ports
    ]
    content = content | {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_at]}]}]},
        "scrape_configs": jobs,
    }
    (name,) = content["rule_files"]
    rules = read(PROMETHEUS.with_name(name))
    faster = {"groups": [hurried(group) for group in rules["groups"]]}
    (folder / name).write_text(yaml.safe_dump(faster, width=10**9))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    return Server(
        folder / "prometheus.log",
        program,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        "--web.listen-address=127.0.0.1:0",
        f"--query.lookback-delta={LOOK_BACK}",
        *flags,
    )


def committed_flags() -> list[str]:
    """Give what compose.yaml tells Prometheus, but for its folders."""
    kept = ("--web.", "--enable-feature=")
    return [each for each in SERVICES["prometheus"]["command"] if each.startswith(kept)]


def jaeger(folder: Path, receiver: str) -> Server:
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


def collector(
    folder: Path,
    health: str,
    receiver: str,
    metrics_at: str,
    spans_to: str,
    own_port: int,
    **queue: int,
) -> Server:
    """Run the committed file; a second one has other addresses, and a smaller queue.

    Args:
        folder: Of its log, and the second file.
        health: Where it says that it is up.
        receiver: Where it takes OTLP.
        metrics_at: Where Prometheus is.
        spans_to: Where the trace store takes OTLP.
        own_port: Of its own metrics.
        **queue: Settings of the queue to Prometheus.
    """
    to_prometheus: dict[str, Any] = {"endpoint": f"http://{metrics_at}/api/v1/otlp"}
    if queue:
        to_prometheus["sending_queue"] = queue
    reader = {"exporter": {"prometheus": {"host": "127.0.0.1", "port": own_port}}}
    others = {
        "extensions": {"health_check": {"endpoint": health}},
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
            "otlp_http/prometheus": to_prometheus,
        },
        "service": {"telemetry": {"metrics": {"readers": [{"pull": reader}]}}},
    }
    path = folder / "otelcol.yaml"
    path.write_text(yaml.safe_dump(others))
    return Server(
        folder / "otelcol.log",
        built("otelcol"),
        f"--config={COLLECTOR}",
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
        f"-relabelConfig={RELABEL}",
        "-search.latencyOffset=0s",  # or what is new is not seen for half a minute
    ) as server:
        url = f"http://{address}/health"
        server.until(lambda: servers.fetch(url), f"{url} answers")
        yield Api(address)
